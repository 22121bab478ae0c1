"""Trips of clients under a clock, for oracles that know no clock."""

import numpy as np

from fedlocal.rounds.clock import Clock
from fedlocal.rounds.message_bytes import OVERHEAD

CLOCKS = (
    Clock(latency_seconds=0.0, bandwidth_bytes=float("inf")),
    Clock("exponential", 0.2, latency_seconds=0.01, bandwidth_bytes=1e4),
)


def away(clock: Clock, problem, period: int, seed: int = 0):
    """Seconds of client i's n-th trip: a dense float64 model down, the steps, one up."""
    size = OVERHEAD + 8 * len(problem.start)

    def seconds(client: int, trip: int) -> float:
        ids = np.array([client])
        travel = 2 * float(clock.travel_seconds(ids, np.array([size]))[0])
        return travel + float(clock.compute_seconds(ids, np.array([period]), trip, seed)[0])

    return seconds
