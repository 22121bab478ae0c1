"""Compressors for either direction of the wire."""

from fedlocal.compress.dense import Identity
from fedlocal.compress.quantise import QSGD, Natural, ScaledSign, TernGrad
from fedlocal.compress.sparse import RandomK, TopK
from fedlocal.compress.wrap import ErrorFeedback, PerLayer, QuantisedTopK, error_feedback, link

__all__ = [
    "QSGD",
    "ErrorFeedback",
    "Identity",
    "Natural",
    "PerLayer",
    "QuantisedTopK",
    "RandomK",
    "ScaledSign",
    "TernGrad",
    "TopK",
    "error_feedback",
    "link",
]
