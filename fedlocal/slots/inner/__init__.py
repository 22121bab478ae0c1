"""Optimisers of local steps, and schedules of their step size."""

from fedlocal.slots.inner.averaged import WeightedIterate
from fedlocal.slots.inner.base import ConstantRate, InnerOptimiser, Rate
from fedlocal.slots.inner.lars import LARS
from fedlocal.slots.inner.lr_schedules import (
    CosineRate,
    ExponentialRate,
    InverseTimeRate,
    StepRate,
    WarmupRate,
    step_rate,
    stich_rate,
)
from fedlocal.slots.inner.sgd import SGD, AdamW, Momentum, sgd

__all__ = [
    "LARS",
    "SGD",
    "AdamW",
    "ConstantRate",
    "CosineRate",
    "ExponentialRate",
    "InnerOptimiser",
    "InverseTimeRate",
    "Momentum",
    "Rate",
    "StepRate",
    "WarmupRate",
    "WeightedIterate",
    "sgd",
    "step_rate",
    "stich_rate",
]
