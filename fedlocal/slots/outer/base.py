"""The slot of the server's optimiser."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class OuterOptimiser(Component):
    """An optimiser that maps the pseudo-gradient (before - after) to the anchor's move."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """An averaging server, which computes the pseudo-gradient."""
        return frozenset({Guarantee.AVERAGING_SERVER})

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The plain mean; an optimiser that moves the anchor to the mean overrides this."""
        return frozenset({Guarantee.PLAIN_MEAN})

    def init(self, anchor: Tensor) -> Tree:
        """Return the state before the first round; anchor [A, P]."""
        return ()

    @abstractmethod
    def step(self, pseudo_grad: Tensor, state: Tree, info: Round) -> tuple[Tensor, Tree]:
        """Return the move to add to the anchor, [A, P], and the next state."""
