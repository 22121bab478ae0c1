"""Loop over the rounds of a run, synchronous or asynchronous.

What follows a round, such as a checkpoint, is `after_round` (`cli/run.py`).
"""

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from fedlocal.rounds.asynchronous import exchanges_round
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.state import RunState, Simulation, initial_state
from fedlocal.rounds.synchronous import barrier_round
from fedlocal.rounds.training_request import Turns, complete
from fedlocal.slots import Timing

ROUNDS = {
    Timing.BARRIER: barrier_round,
    Timing.OVERLAPPED: barrier_round,
    Timing.ASYNCHRONOUS: exchanges_round,
}


class Progress(NamedTuple):
    """Progress of a run; its lists grow with every round.

    state: Current state. history: A row of metrics per round. records: A ledger record per round.
    """

    state: RunState
    history: list[Row]
    records: list[RoundRecord]


def initial_progress(sim: Simulation) -> Progress:
    """Return the progress before the first round."""
    return Progress(initial_state(sim), [], [])


def is_finished(sim: Simulation, history: list[Row]) -> bool:
    """Return whether a run with these rows is finished."""
    return len(history) >= sim.rounds or sim.goal.met(history)


def run(
    sim: Simulation,
    progress: Progress,
    after_round: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Run to the last round.

    Args:
        sim: The run.
        progress: Progress so far; its lists are extended.
        after_round: Called with the progress after each round.
    """
    return complete(run_turns(sim, progress, after_round))


def run_turns(
    sim: Simulation,
    progress: Progress,
    after_round: Callable[[Progress], None] = lambda progress: None,
) -> Turns[Progress]:
    """See `run`; a batched run yields its local training."""
    while not is_finished(sim, progress.history):
        state, row, record = yield from advance_turns(sim, progress.state)
        progress.history.append(row)
        progress.records.append(record)
        progress = progress._replace(state=state)
        after_round(progress)
    return progress


def advance(sim: Simulation, state: RunState) -> tuple[RunState, Row, RoundRecord]:
    """Run one round; return the next state, its row of metrics, and its ledger record."""
    return complete(advance_turns(sim, state))


def advance_turns(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Row, RoundRecord]]:
    """See `advance`; a batched run yields its local training."""
    began = perf_counter()
    after, row, record = yield from ROUNDS[sim.strategy.timing](sim, state)
    row["wall_seconds"] = state.wall_seconds + perf_counter() - began
    return after._replace(wall_seconds=row["wall_seconds"]), row, record
