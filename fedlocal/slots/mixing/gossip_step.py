"""How far gossip may step towards the neighbours when their messages are compressed.

With exact messages a step of 1 mixes fully. Behind a compressor beliefs lag behind models, and a
step that is too large makes them run apart; the theorems say what is always small enough.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from fedlocal.slots.compress import contraction
from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.mixing.graph import spectral_gap
from fedlocal.slots.mixing.kinds import Graph
from fedlocal.vectors.flat import ParamSpec

GossipStep = float | Literal["theory"]


@dataclass(frozen=True)
class SafeStep(ABC):
    """The step of a theorem, from the graph and from what the compressor loses at most.

    The theorems are about the worst vector that there is. In practice steps a thousand times as
    large are stable and mix far better, which is why the papers' experiments tune it.

    Attributes:
        compressor: Whose delta counts.
        size: P, the number of scalars; filled in by `bind`, once the model is known.
    """

    compressor: Compressor
    size: int = 0

    def __post_init__(self) -> None:
        """Refuse a compressor of which nothing is known."""
        contraction(self.compressor, max(1, self.size))

    def bind(self, spec: ParamSpec) -> Self:
        """The same rule for this model."""
        return replace(self, compressor=self.compressor.bind(spec), size=spec.size)

    def on(self, graph: Graph, num_clients: int) -> float:
        """Gamma among so many clients."""
        matrix = graph.matrix(0, num_clients)
        spread = float(np.linalg.norm(np.eye(num_clients) - matrix, 2))
        gap = spectral_gap(graph, num_clients)
        return self.of(gap, spread, contraction(self.compressor, self.size))

    @staticmethod
    @abstractmethod
    def of(gap: float, spread: float, delta: float) -> float:
        """Gamma from rho = 1 - |lambda_2|, beta = |I - W|_2 and the compressor's delta."""


@dataclass(frozen=True)
class ChocoStep(SafeStep):
    """Koloskova et al. 2019, theorem 2 (https://arxiv.org/abs/1902.00340)."""

    @staticmethod
    def of(gap: float, spread: float, delta: float) -> float:
        below = 16 * gap + gap**2 + 4 * spread**2 + 2 * gap * spread**2 - 8 * gap * delta
        return gap**2 * delta / below


@dataclass(frozen=True)
class SparqStep(SafeStep):
    """Singh et al. 2019, theorem 1 (https://arxiv.org/abs/1910.14280)."""

    @staticmethod
    def of(gap: float, spread: float, delta: float) -> float:
        below = 64 * gap + gap**2 + 16 * spread**2 + 8 * gap * spread**2 - 16 * gap * delta
        return 2 * gap * delta / below
