"""The clock: simulated seconds from the ledger's records, under a law."""

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
