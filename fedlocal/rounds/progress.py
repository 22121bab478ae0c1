"""Progress of a run from round to round."""

from collections.abc import Callable
from typing import NamedTuple

from fedlocal.rounds.advance import advancing
from fedlocal.rounds.barrier import Row
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import RunState, Simulation, initial_state
from fedlocal.rounds.training import Turns, completed


class Course(NamedTuple):
    """Progress of a run; its lists grow with every round.

    state: Current state. history: A row of metrics per round. records: A ledger record per round.
    """

    state: RunState
    history: list[Row]
    records: list[RoundRecord]


def outset(sim: Simulation) -> Course:
    """Return the progress before the first round."""
    return Course(initial_state(sim), [], [])


def over(sim: Simulation, history: list[Row]) -> bool:
    """Return whether a run with these rows is finished."""
    return len(history) >= sim.rounds or sim.goal.met(history)


def run(
    sim: Simulation, course: Course, after_round: Callable[[Course], None] = lambda course: None
) -> Course:
    """Run to the last round.

    Args:
        sim: The run.
        course: Progress so far; its lists are extended.
        after_round: Called with the progress after each round.
    """
    return completed(running(sim, course, after_round))


def running(
    sim: Simulation, course: Course, after_round: Callable[[Course], None] = lambda course: None
) -> Turns[Course]:
    """See `run`; a batched run yields its local training."""
    while not over(sim, course.history):
        state, row, record = yield from advancing(sim, course.state)
        course.history.append(row)
        course.records.append(record)
        course = course._replace(state=state)
        after_round(course)
    return course
