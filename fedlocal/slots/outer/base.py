"""The slot of the server's step."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from fedlocal.slots.component import Piece
from fedlocal.slots.terms import Guarantee, Round
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class OuterOptimiser(Piece):
    """Turns the pseudo-gradient (before - after) into the move of the anchor."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A pseudo-gradient is what an averaging server sees."""
        return frozenset({Guarantee.AVERAGING_SERVER})

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The anchor does not go to the mean. One that brings it there says so."""
        return frozenset({Guarantee.PLAIN_MEAN})

    def init(self, anchor: Tensor) -> Tree:
        """State before the first round; anchor [A, P]."""
        return ()

    @abstractmethod
    def step(self, pseudo_grad: Tensor, state: Tree, info: Round) -> tuple[Tensor, Tree]:
        """The move to add to the anchor, [A, P], and the next state."""
