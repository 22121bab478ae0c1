"""Batched sweeps: clients of runs that differ in numbers only are rows of one batch."""
