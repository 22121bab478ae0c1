"""The seconds of a finished run under another clock.

Bytes and steps are what they are; how long they take is the clock's law. So a run whose course did
not depend on the clock can be timed again without running it again.
"""

import numpy as np
from numpy.typing import NDArray

from fedlocal.rounds.clock import Clock
from fedlocal.rounds.ledger import Ledger
from fedlocal.rounds.state import Simulation
from fedlocal.slots import Timing


def replay(ledger: Ledger, clock: Clock, seed: int) -> NDArray[np.float64]:
    """Simulated seconds at the end of each round, [R], as the run would have had them.

    Args:
        ledger: Of a run that `clock_decided` has nothing to say of.
        clock: Any law.
        seed: The run's.
    """
    return np.cumsum([clock.seconds(record, seed) for record in ledger.records])


def clock_decided(sim: Simulation) -> str:
    """Why the run would have gone another way under another clock; "" where it would not."""
    if sim.strategy.timing is Timing.ASYNCHRONOUS:
        return "messages were applied in the order in which they arrived"
    if sim.deadline.seconds is not None:
        return "a deadline decided who answered with what"
    if sim.strategy.period.reads_clock:
        return "the period followed the simulated seconds"
    return ""
