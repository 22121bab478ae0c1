"""The kinds of graphs, as values: they can be compared, hashed and pickled.

Row i of a mixing matrix W holds the weights with which node i combines what it has and receives:
x_i <- sum_j W[i, j] x_j. It is made when the number of nodes is known.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from fedlocal.slots.mixing import topology
from fedlocal.slots.mixing.topology import Links, Matrix, Weighing, weigh

SHAPES: dict[str, Callable[[int], Links]] = {
    "complete": topology.complete,
    "ring": topology.ring,
    "torus": topology.torus,
    "star": topology.star,
    "exponential": topology.exponential,
    "hypercube": topology.hypercube,
}


@dataclass(frozen=True)
class Graph(ABC):
    """Mixing matrices for any number of clients, or for one."""

    @abstractmethod
    def matrix(self, round_index: int, num_clients: int) -> Matrix:
        """Return the mixing matrix of a round, [K, K].

        Raises:
            ValueError: There is no such graph of so many nodes.
        """

    def rounds(self, num_clients: int) -> int:
        """Return the number of rounds after which the matrices repeat."""
        return 1

    def cycle(self, num_clients: int) -> Matrix:
        """Return the matrices of one period, [T, K, K]."""
        return np.stack([self.matrix(t, num_clients) for t in range(self.rounds(num_clients))])

    def links(self, round_index: int, num_clients: int) -> Links:
        """Return which node sends to which in a round, [K, K], row to column; none to itself."""
        links = self.matrix(round_index, num_clients).T != 0
        np.fill_diagonal(links, False)
        return links


@dataclass(frozen=True)
class Named(Graph):
    """A graph of a known shape, the same in every round."""

    name: str
    weights: Weighing = field(default="metropolis", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse an unknown name."""
        _check_weighing(self.weights)
        if self.name not in SHAPES:
            raise ValueError(f"the name must be one of {', '.join(SHAPES)}, got {self.name!r}")

    def __str__(self) -> str:
        return self.name

    def matrix(self, round_index: int, num_clients: int) -> Matrix:
        return weigh(SHAPES[self.name](num_clients), self.weights)


@dataclass(frozen=True)
class OnePeerExponential(Graph):
    """Each node sends to one node: 1 place further in the first round, then 2, 4, ..., repeating.

    Reference: Assran et al. 2019. https://arxiv.org/abs/1811.10792
    """

    def __str__(self) -> str:
        return "one_peer_exponential"

    def rounds(self, num_clients: int) -> int:
        return max(1, len(topology.powers(num_clients)))

    def matrix(self, round_index: int, num_clients: int) -> Matrix:
        hop = 2 ** (round_index % self.rounds(num_clients))
        return weigh(topology.circulant(num_clients, [hop]))


@dataclass(frozen=True)
class ErdosRenyi(Graph):
    """Each pair is linked with probability p; drawn again until the graph is connected.

    Attributes:
        p: Probability of each link.
        seed: Same seed and number of clients, same graph.
        directed: Each direction of a pair is drawn by itself.
        weights: See `topology.weigh`.
    """

    p: float = 0.5
    seed: int = 0
    directed: bool = field(default=False, kw_only=True)
    weights: Weighing = field(default="metropolis", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what is no probability or no seed."""
        _check_weighing(self.weights)
        if not 0 < self.p <= 1:
            raise ValueError(f"p must be a probability in (0, 1], got {self.p}")
        if self.seed != int(self.seed):
            raise ValueError(f"the seed must be a whole number, got {self.seed}")

    def __str__(self) -> str:
        return f"erdos_renyi:{self.p:g}:{self.seed}" + ":directed" * self.directed

    def matrix(self, round_index: int, num_clients: int) -> Matrix:
        links = topology.random_links(num_clients, self.p, self.seed, self.directed)
        return weigh(links, self.weights)


@dataclass(frozen=True)
class Given(Graph):
    """Matrices that somebody else has made, one after another and then again, [T, K, K]."""

    entries: tuple[tuple[tuple[float, ...], ...], ...]

    @classmethod
    def of(cls, matrix: ArrayLike) -> "Given":
        """Return the graph of a matrix [K, K], or of several that take turns, [T, K, K]."""
        values = np.asarray(matrix, dtype=np.float64)
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[1] != values.shape[2] or values.size == 0:
            raise ValueError(
                "a mixing matrix must be [K, K], or [T, K, K] for several that take turns, got"
                f" shape {np.shape(matrix)}"
            )
        if not np.isfinite(values).all():
            raise ValueError("the entries of a mixing matrix must be finite numbers")
        return cls(tuple(tuple(tuple(row) for row in one) for one in values.tolist()))

    def __str__(self) -> str:
        return "matrix"

    def rounds(self, num_clients: int) -> int:
        return len(self.entries)

    def matrix(self, round_index: int, num_clients: int) -> Matrix:
        matrix = np.array(self.entries[round_index % len(self.entries)])
        if len(matrix) != num_clients:
            size = len(matrix)
            raise ValueError(
                f"the mixing matrix is {size} x {size}, for {size} nodes, and there are"
                f" {num_clients} (clients and auxiliary variables)"
            )
        return matrix


def _check_weighing(weights: str) -> None:
    if weights not in get_args(Weighing):
        raise ValueError(f"weights of a graph must be metropolis or uniform, got {weights!r}")
