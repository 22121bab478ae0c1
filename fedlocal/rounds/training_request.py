"""Local training of a cohort as a request, so that cohorts of several runs can share a batch."""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from fedlocal.rounds.client import ClientState, Inbox, Upload
from fedlocal.rounds.runtime_interface import CohortWork
from fedlocal.rounds.state import Simulation

T = TypeVar("T")

Trained = tuple[ClientState, Upload]


class Training(NamedTuple):
    """Local training of one run's cohort; every tensor of states and inbox is [S, ...]."""

    sim: Simulation
    states: ClientState
    inbox: Inbox
    work: CohortWork

    def run(self) -> Trained:
        """Train the cohort by itself; return its next states and uploads, every tensor [S, ...]."""
        return self.sim.cohort.run(self.states, self.inbox, self.work)


# Generator with result T. In a batched sweep it yields each cohort's training and is sent the
# result, or None if the run must train alone; in any other run it yields nothing.
Turns = Generator[Training, Trained | None, T]


def complete(turns: Turns[T]) -> T:
    """Run a generator that yields nothing, and return its result.

    Raises:
        RuntimeError: It yields a training: the run must be batched with others.
    """
    try:
        next(turns)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the run is part of a batched sweep; use SweepBatcher, or set batched=False")
