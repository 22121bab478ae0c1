"""Simulated seconds of a finished run under another clock.

The ledger holds bytes and steps; the clock's law gives their durations. A run that did not depend
on the clock can therefore be timed again without training.
"""

import numpy as np
from numpy.typing import NDArray

from fedlocal.rounds.clock import Clock
from fedlocal.rounds.ledger import Ledger
from fedlocal.rounds.state import Simulation
from fedlocal.slots import Timing


def replay(ledger: Ledger, clock: Clock, seed: int) -> NDArray[np.float64]:
    """Compute the simulated seconds at the end of each round, [R].

    Args:
        ledger: Ledger of a run for which `clock_decided` returns "".
        clock: The other clock.
        seed: Seed of the run.
    """
    return np.cumsum([clock.seconds(record, seed) for record in ledger.records])


def clock_decided(sim: Simulation) -> str:
    """Return why the run depends on its clock; "" where it does not."""
    if sim.strategy.timing is Timing.ASYNCHRONOUS:
        return "updates were applied in the order in which they arrived"
    if sim.deadline.seconds is not None:
        return "a deadline decided which members answered, and after how many steps"
    if sim.strategy.period.reads_clock:
        return "the period followed the simulated seconds"
    return ""
