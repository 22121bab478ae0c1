"""Participation rate, and failures of cohort members."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedlocal.utils.arrays import IntArray
from fedlocal.utils.checks import check_number
from fedlocal.vectors.rng import Purpose, generators


def check_participation(participation: float) -> None:
    """Raise ValueError unless 0 < participation <= 1."""
    check_number("participation", participation)
    if not 0 < participation <= 1:
        raise ValueError(
            f"participation must be in (0, 1], got {participation}; 0.1 samples one client in ten"
        )


@dataclass(frozen=True)
class DropOut:
    """Failures of cohort members: at random, on a schedule, or permanent.

    Attributes:
        probability: Probability that a member fails in a round, independently of all others.
        outages: Entries [client, first round] or [client, first round, round of return]; without
            a return the client is gone for good. Rounds count from 0.
    """

    probability: float = 0.0
    outages: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid probability or outage."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"faults.probability must be in [0, 1], got {self.probability}")
        for outage in self.outages:
            rounds = list(outage)[1:]
            if len(rounds) not in (1, 2) or min(outage) < 0 or rounds != sorted(set(rounds)):
                raise ValueError(
                    "faults.outages must hold [client, first round] or [client, first round, round"
                    f" of return], none negative, the return later, got {list(outage)}; for"
                    " example [[3, 10, 40]]"
                )

    def answering(self, clients: IntArray, seed: int, round_index: int) -> IntArray:
        """Return the members that do not fail, in the same order."""
        lucky = clients
        if self.probability:
            each = generators(seed, Purpose.FAULTS, clients.tolist(), round_index)
            lucky = clients[np.array([rng.random() for rng in each]) >= self.probability]
        return lucky[~np.isin(lucky, self._out(round_index))]

    def share(self, num_clients: int) -> float:
        """Return the expected share of clients that do not fail.

        Raises:
            ValueError: An outage names a client that the run does not have.
        """
        out = {outage[0] for outage in self.outages}
        if out and max(out) >= num_clients:
            raise ValueError(
                f"faults.outages names client {max(out)}, and the clients are 0 to"
                f" {num_clients - 1}"
            )
        return (1 - self.probability) * (1 - len(out) / num_clients)

    def _out(self, round_index: int) -> list[int]:
        return [
            client
            for client, first, *back in self.outages
            if first <= round_index and not (back and back[0] <= round_index)
        ]
