"""The slot of cohort sampling, and the uniform sampling that most strategies share."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.component import Component
from fedlocal.vectors.rng import Purpose, client_keys


@dataclass(frozen=True)
class Sampling(Component):
    """The rule that selects the cohort of a round."""

    @abstractmethod
    def cohort(
        self, num_clients: int, participation: float, seed: int, round_index: int
    ) -> NDArray[np.int64]:
        """Return the sorted client ids of a round; `participation` is the desired share."""


@dataclass(frozen=True)
class UniformSampling(Sampling):
    """Uniform sampling without replacement.

    It is keyed by client id, so that a cohort does not depend on the order of calls.

    Reference: McMahan et al. 2017. https://arxiv.org/abs/1602.05629
    """

    def cohort(
        self, num_clients: int, participation: float, seed: int, round_index: int
    ) -> NDArray[np.int64]:
        clients = np.arange(num_clients, dtype=np.int64)
        wanted = cohort_size(num_clients, participation)
        if wanted == num_clients:
            return clients
        keys = client_keys(seed, Purpose.SAMPLING, clients, round_index)
        # No two keys are equal, since they are a bijection of the ids.
        return np.sort(np.argpartition(keys, wanted)[:wanted])


def cohort_size(num_clients: int, participation: float) -> int:
    """Return the number of clients in a cohort, max(floor(participation K), 1).

    >>> cohort_size(100, 0.29)
    29
    """
    # The small allowance keeps 0.29 * 100 = 28.999999999999996 from becoming 28.
    return max(1, int(participation * num_clients + 1e-9))
