"""A star whose server takes the weighted mean: the mixing that most strategies share."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedlocal.slots.mixing.base import Mixing
from fedlocal.slots.terms import Guarantee, Round
from fedlocal.vectors.trees import Tree, weighted_mean

Weights = Literal["uniform", "examples"]


@dataclass(frozen=True)
class WeightedMean(Mixing):
    """The mean of the cohort's models, weighted equally or by example count."""

    weights: Weights = "uniform"

    def __post_init__(self) -> None:
        """Refuse an unknown weighing."""
        if self.weights not in ("uniform", "examples"):
            raise ValueError(f"weights must be uniform or examples, got {self.weights!r}")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Nothing else: this is the mean that others rely on."""
        return frozenset() if self.weights == "uniform" else frozenset({Guarantee.EQUAL_WEIGHTS})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        shares = counts if self.weights == "examples" else torch.ones_like(counts)
        return shares / shares.sum()

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        return weighted_mean(received, info.weights).unsqueeze(0), state
