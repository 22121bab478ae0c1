"""Who takes part in a round, and who of them answers."""

from dataclasses import dataclass

import numpy as np

from fedlocal.clients import IntArray
from fedlocal.rng import Purpose, client_keys, generator


def cohort(num_clients: int, participation: float, seed: int, round_index: int) -> IntArray:
    """Ids of the max(floor(participation K), 1) clients of a round, sorted, without replacement.

    Keyed by client id: whether client i is among them depends on no order of calls.

    Reference: McMahan et al. 2017. https://arxiv.org/abs/1602.05629
    """
    clients = np.arange(num_clients, dtype=np.int64)
    # The small allowance keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    wanted = max(1, int(participation * num_clients + 1e-9))
    if wanted == num_clients:
        return clients
    keys = client_keys(seed, Purpose.SAMPLING, clients, round_index)
    return np.sort(np.argsort(keys, kind="stable")[:wanted])


def check_participation(participation: float) -> None:
    """Raise ValueError unless 0 < participation <= 1."""
    if not 0 < participation <= 1:
        raise ValueError(
            f"participation must be in (0, 1], got {participation}; 0.1 samples one client in ten"
        )


@dataclass(frozen=True)
class DropOut:
    """Each cohort member fails to answer with a probability, independently in every round."""

    probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"faults.probability must be in [0, 1], got {self.probability}")

    def answering(self, clients: IntArray, seed: int, round_index: int) -> IntArray:
        """The members that answer, in the same order."""
        draws = [generator(seed, Purpose.FAULTS, c, round_index).random() for c in clients]
        return clients[np.array(draws) >= self.probability]
