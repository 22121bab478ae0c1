"""A run in its folder: begun, interrupted, gone on with, finished."""
