"""Checks of arguments, lazy imports, threads, devices: what any room may use."""
