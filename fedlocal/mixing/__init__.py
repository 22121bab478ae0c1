"""Mixings that several strategies share. One that serves a single strategy lives in its file."""

from fedlocal.mixing.mean import WeightedMean, Weights

__all__ = ["WeightedMean", "Weights"]
