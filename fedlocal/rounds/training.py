"""Rounds that stop while their clients train, so that clients of several runs can train at once."""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from fedlocal.rounds.client import ClientState, Inbox, Upload
from fedlocal.rounds.runner import Plan
from fedlocal.rounds.state import Simulation

T = TypeVar("T")

Trained = tuple[ClientState, Upload]


class Training(NamedTuple):
    """The local training of one run's cohort; every tensor of states and inbox is [S, ...]."""

    sim: Simulation
    states: ClientState
    inbox: Inbox
    plan: Plan

    def run(self) -> Trained:
        """Train the cohort by itself: its next states and uploads, every tensor [S, ...]."""
        return self.sim.cohort.run(self.states, self.inbox, self.plan)


# Part of a run that ends with a T. One that is batched with others yields its trainings and is sent
# what came of each, None if it is to train by itself; any other run yields nothing.
Turns = Generator[Training, Trained | None, T]


def completed(turns: Turns[T]) -> T:
    """The result of a run that trains by itself.

    Raises:
        RuntimeError: It waits to be batched with others.
    """
    try:
        next(turns)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the run waits for others; run it with SweepBatcher, or with batched=False")
