"""Local training of a cohort as a request, so that cohorts of several runs can share a batch."""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from fedlocal.rounds.client import ClientState, Inbox, Upload
from fedlocal.rounds.runner import CohortWork
from fedlocal.rounds.state import Simulation

T = TypeVar("T")

Trained = tuple[ClientState, Upload]


class Training(NamedTuple):
    """The local training of one run's cohort; every tensor of states and inbox is [S, ...]."""

    sim: Simulation
    states: ClientState
    inbox: Inbox
    plan: CohortWork

    def run(self) -> Trained:
        """Train the cohort by itself; return its next states and uploads, every tensor [S, ...]."""
        return self.sim.cohort.run(self.states, self.inbox, self.plan)


# Part of a run with result T. A batched run yields its trainings and is sent their results, None
# where it must train by itself; any other run yields nothing.
Turns = Generator[Training, Trained | None, T]


def completed(turns: Turns[T]) -> T:
    """Run a generator that trains by itself, and return its result.

    Raises:
        RuntimeError: It waits to be batched with other runs.
    """
    try:
        next(turns)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the run waits for others; run it with SweepBatcher, or with batched=False")
