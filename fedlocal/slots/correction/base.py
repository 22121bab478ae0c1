"""The slot of the correction of a local step's direction."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.slots.guarantees import Guarantee, Round, View
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Correction(Component):
    """A correction of the local direction, optionally with a control vector of the server.

    reads_all_data: Whether `begin` receives the gradient over all of the client's examples.
    needs_gradient_exchange: Whether a round starts with a gradient exchange, in which the cohort
        uploads full-batch gradients at the anchor for `combine_gradients`.
    """

    reads_all_data: ClassVar[bool] = False
    needs_gradient_exchange: ClassVar[bool] = False

    @property
    def requires(self) -> frozenset[Guarantee]:
        """An averaging server and a barrier; a correction that needs less overrides this."""
        return frozenset({Guarantee.AVERAGING_SERVER, Guarantee.BARRIER})

    def init(self, x: Tensor) -> Tree:
        """Return the state of a client before its first round; x [P] gives shape and dtype."""
        return ()

    def control(self, x: Tensor) -> Tree:
        """Return the first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, start: Tensor, control: Tree, full_gradient: Tree) -> Tree:
        """Return the client's state for the round.

        Args:
            state: State that `end` returned.
            start: Model that the round starts from, after the pull, [P].
            control: Broadcast of the server half.
            full_gradient: Gradient at `start` over all of the client's examples, [P]; () unless
                `reads_all_data`.
        """
        return state

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        """Return the direction of the step at x, [P], given the mini-batch gradient there."""
        return grad

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[Tree, Tree]:
        """Return the state to keep and the report to upload.

        Args:
            state: State that `begin` returned.
            start: Model that the round started from, [P].
            belief: The server's belief of this client's model, [P]; behind a lossy uplink it
                differs from the exact model.
            step_sum: Distance that a constant direction of 1 moves the client in the round, []:
                for SGD the sum of step sizes, with momentum that of `InnerOptimiser.effective`.
            control: Broadcast of the server half.
        """
        return state, ()

    def combine_gradients(self, control: Tree, gradients: Tensor, weights: Tensor) -> Tree:
        """Return the round's broadcast from the cohort's gradients [S, P] and weights [S]."""
        return control

    def combine(self, control: Tree, reports: Tree, received: Tensor, info: Round) -> Tree:
        """Return the next broadcast from the cohort's reports [S, ...] and messages [S, P]."""
        return control


@dataclass(frozen=True)
class NoCorrection(Correction):
    """No correction: step along the mini-batch gradient."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Nothing."""
        return frozenset()
