"""Compressors for either direction of the wire."""

from fedlocal.compress.contractive import Contractive, contraction, remembers
from fedlocal.compress.dense import Identity
from fedlocal.compress.lowrank import PowerSGD
from fedlocal.compress.natural import Natural
from fedlocal.compress.quantise import QSGD, ScaledSign, TernGrad
from fedlocal.compress.reset import ErrorReset
from fedlocal.compress.sparse import RandomK, TopK
from fedlocal.compress.trigger import Triggered
from fedlocal.compress.wrap import ErrorFeedback, PerLayer, QuantisedTopK, error_feedback, link

__all__ = [
    "QSGD",
    "Contractive",
    "ErrorFeedback",
    "ErrorReset",
    "Identity",
    "Natural",
    "PerLayer",
    "PowerSGD",
    "QuantisedTopK",
    "RandomK",
    "ScaledSign",
    "TernGrad",
    "TopK",
    "Triggered",
    "contraction",
    "error_feedback",
    "link",
    "remembers",
]
