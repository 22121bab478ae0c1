"""The gossip step size under compression.

With exact messages a step of 1 mixes fully. With compressed messages beliefs lag behind models, and
a step that is too large diverges. The theorems give steps that always converge.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from fedlocal.slots.compress import contraction
from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.mixing.graph import spectral_gap
from fedlocal.slots.mixing.graph_kinds import Graph
from fedlocal.vectors.flat import ParamSpec

GossipStep = float | Literal["theory"]


@dataclass(frozen=True)
class SafeStep(ABC):
    """A theorem's gossip step, from the graph and the compressor's delta.

    The theorems hold for the worst case. In practice steps a thousand times as large are stable and
    mix far better, so the papers' experiments tune it.

    Attributes:
        compressor: Compressor of the messages.
        size: P, the number of scalars; set by `bind`.
    """

    compressor: Compressor
    size: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if the compressor's delta is unknown."""
        contraction(self.compressor, max(1, self.size))

    def bind(self, spec: ParamSpec) -> Self:
        """Return the rule for a model with these layers."""
        return replace(self, compressor=self.compressor.bind(spec), size=spec.size)

    def gamma_on(self, graph: Graph, num_clients: int) -> float:
        """Return gamma for `num_clients` clients on `graph`."""
        matrix = graph.matrix(0, num_clients)
        spread = float(np.linalg.norm(np.eye(num_clients) - matrix, 2))
        gap = spectral_gap(graph, num_clients)
        return self.of(gap, spread, contraction(self.compressor, self.size))

    @staticmethod
    @abstractmethod
    def of(gap: float, spread: float, delta: float) -> float:
        """Return gamma from rho = 1 - |lambda_2|, beta = |I - W|_2 and the compressor's delta."""


@dataclass(frozen=True)
class ChocoStep(SafeStep):
    """The step of Koloskova et al. 2019, theorem 2 (https://arxiv.org/abs/1902.00340)."""

    @staticmethod
    def of(gap: float, spread: float, delta: float) -> float:
        below = 16 * gap + gap**2 + 4 * spread**2 + 2 * gap * spread**2 - 8 * gap * delta
        return gap**2 * delta / below


@dataclass(frozen=True)
class SparqStep(SafeStep):
    """The step of Singh et al. 2019, theorem 1 (https://arxiv.org/abs/1910.14280)."""

    @staticmethod
    def of(gap: float, spread: float, delta: float) -> float:
        below = 64 * gap + gap**2 + 16 * spread**2 + 8 * gap * spread**2 - 16 * gap * delta
        return 2 * gap * delta / below
