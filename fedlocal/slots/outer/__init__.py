"""Optimisers of the server."""

from fedlocal.slots.outer.base import OuterOptimiser
from fedlocal.slots.outer.sgd import OuterSGD, SlowMomentum

__all__ = ["OuterOptimiser", "OuterSGD", "SlowMomentum"]
