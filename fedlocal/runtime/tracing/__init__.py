"""Tracing of local steps: a step is traced once, its graph simplified, and run by a backend."""
