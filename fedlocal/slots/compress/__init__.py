"""Compressors of uploads and broadcasts."""

from fedlocal.slots.compress.base import Compressor, Field, Identity, Optional, OptionalField
from fedlocal.slots.compress.contractive import Contractive, contraction, has_error_feedback
from fedlocal.slots.compress.error_reset import ErrorReset
from fedlocal.slots.compress.event_trigger import Triggered
from fedlocal.slots.compress.lowrank import PowerSGD
from fedlocal.slots.compress.natural import Natural
from fedlocal.slots.compress.quantise import QSGD, ScaledSign, TernGrad
from fedlocal.slots.compress.sparse import RandomK, TopK
from fedlocal.slots.compress.wrappers import (
    ErrorFeedback,
    PerLayer,
    QuantisedTopK,
    error_feedback,
    link,
)

__all__ = [
    "QSGD",
    "Compressor",
    "Contractive",
    "ErrorFeedback",
    "ErrorReset",
    "Field",
    "Identity",
    "Natural",
    "Optional",
    "OptionalField",
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
    "has_error_feedback",
    "link",
]
