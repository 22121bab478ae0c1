"""Flat vectors, trees of tensors, keyed random numbers, packed bits."""
