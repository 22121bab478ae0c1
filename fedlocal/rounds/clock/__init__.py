"""The simulated clock: seconds of rounds from bytes, steps and a law of compute times."""

from fedlocal.rounds.clock.clock import (
    Clock,
    Constant,
    FloatArray,
    Law,
    Pareto,
    ShiftedExponential,
    together,
)
from fedlocal.rounds.clock.trace import Trace, read_trace

__all__ = [
    "Clock",
    "Constant",
    "FloatArray",
    "Law",
    "Pareto",
    "ShiftedExponential",
    "Trace",
    "read_trace",
    "together",
]
