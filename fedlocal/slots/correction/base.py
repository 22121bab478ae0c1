"""The slot that changes the direction of a local step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlocal.slots.component import Piece
from fedlocal.slots.terms import Guarantee, Round, View
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Correction(Piece):
    """Changes the local direction. May have a server half: a control vector up and down.

    reads_all_data: Whether `begin` is given the gradient over all of the client's examples.
    surveys: Whether a round begins with an exchange of its own, in which the members send the
        gradient over all of their examples at the anchor, for `surveyed`.
    """

    reads_all_data: ClassVar[bool] = False
    surveys: ClassVar[bool] = False

    @property
    def requires(self) -> frozenset[Guarantee]:
        """All start from one anchor and end together. One that needs less says so."""
        return frozenset({Guarantee.AVERAGING_SERVER, Guarantee.BARRIER})

    def init(self, x: Tensor) -> Tree:
        """State of a client that has not taken part yet."""
        return ()

    def control(self, x: Tensor) -> Tree:
        """The first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, start: Tensor, control: Tree, full_gradient: Tree) -> Tree:
        """State for the round.

        Args:
            state: As `end` returned it.
            start: The model that the round starts from, after the pull, [P].
            control: The server half's broadcast.
            full_gradient: At the start, over all of the client's examples, [P]; () unless
                `reads_all_data`.
        """
        return state

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        """The direction to step along at x, given the mini-batch gradient there."""
        return grad

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[Tree, Tree]:
        """State to keep and report to send.

        Args:
            state: As `begin` returned it.
            start: The model that the round began with, [P].
            belief: What the server now believes this client's model to be, [P]. Not the exact
                model: behind a lossy compressor the server never saw that.
            step_sum: How far a constant direction of 1 carried the client in the round, []: for
                SGD the sum of its step sizes, with momentum `InnerOptimiser.effective`'s.
            control: The server half's broadcast.
        """
        return state, ()

    def surveyed(self, control: Tree, gradients: Tensor, weights: Tensor) -> Tree:
        """The broadcast of the round from its members' gradients [S, P] and weights [S]."""
        return control

    def combine(self, control: Tree, reports: Tree, received: Tensor, info: Round) -> Tree:
        """The next broadcast from the cohort's reports, each [S, ...], and messages [S, P]."""
        return control


@dataclass(frozen=True)
class NoCorrection(Correction):
    """Step along the mini-batch gradient as it is."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Nothing: at home in every method."""
        return frozenset()
