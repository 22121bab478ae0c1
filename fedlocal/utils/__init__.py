"""Helpers for all packages: checks of arguments, lazy imports, threads, devices."""
