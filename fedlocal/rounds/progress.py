"""Progress of a run from round to round."""

from collections.abc import Callable
from typing import NamedTuple

from fedlocal.rounds.advance import advancing
from fedlocal.rounds.barrier import Row
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import RunState, Simulation, initial_state
from fedlocal.rounds.training import Turns, completed


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
    return completed(running(sim, progress, after_round))


def running(
    sim: Simulation,
    progress: Progress,
    after_round: Callable[[Progress], None] = lambda progress: None,
) -> Turns[Progress]:
    """See `run`; a batched run yields its local training."""
    while not is_finished(sim, progress.history):
        state, row, record = yield from advancing(sim, progress.state)
        progress.history.append(row)
        progress.records.append(record)
        progress = progress._replace(state=state)
        after_round(progress)
    return progress
