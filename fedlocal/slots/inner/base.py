"""The slot of the local step, and the schedule of its size."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.component import Piece
from fedlocal.slots.terms import Guarantee, Round
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Rate(Piece):
    """A learning-rate schedule."""

    @abstractmethod
    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Step sizes of one round, [steps]; `first_step` local steps went before it."""


@dataclass(frozen=True)
class ConstantRate(Rate):
    """The same step size throughout."""

    lr: float
    batched_fields: ClassVar[tuple[str, ...]] = ("lr",)

    def __post_init__(self) -> None:
        """Refuse a step size that cannot train."""
        check_lr(self.lr)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        return np.full(steps, self.lr)


@dataclass(frozen=True)
class InnerOptimiser(Piece):
    """One local step. The server half (`control`, `report`, `combine`) serves shared buffers.

    averages: Whether `output` is a model of the client's own, and not the one it stands at.
    """

    averages: ClassVar[bool] = False

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """One whose steps are linear in their directions, or that keeps no buffers, says so."""
        return frozenset({Guarantee.LINEAR_STEPS, Guarantee.EQUAL_BUFFERS, Guarantee.FRESH_BUFFERS})

    @abstractmethod
    def init(self, x: Tensor) -> Tree:
        """Buffers of a client that has not taken part yet; x [P] gives shape and dtype."""

    def control(self, x: Tensor) -> Tree:
        """The first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, control: Tree) -> Tree:
        """Buffers at the start of a round."""
        return state

    @abstractmethod
    def rates(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Step sizes of one round, [steps]."""

    @abstractmethod
    def step(self, x: Tensor, direction: Tensor, state: Tree, lr: Tensor) -> tuple[Tensor, Tree]:
        """One step from x [P] along `direction` [P]; `lr` is a scalar tensor."""

    def effective(self, rates: Tensor) -> Tensor:
        """How far each step goes along a constant direction of 1 from empty buffers, [H].

        Args:
            rates: Step sizes of a round from its first step on, [H].
        """
        return rates

    def output(self, state: Tree, x: Tensor) -> Tensor:
        """The model to evaluate, [P], of a client that stands at x: an average of iterates, say."""
        return x

    def report(self, state: Tree) -> Tree:
        """What travels up after the round."""
        return ()

    def combine(self, control: Tree, reports: Tree, info: Round) -> Tree:
        """The next broadcast from the cohort's reports, each [S, ...]."""
        return control


def check_lr(lr: float) -> None:
    """Raise ValueError unless lr is positive and finite."""
    check_number("lr", lr)
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, got {lr}; for example lr=0.1")


def as_rate(lr: float | Rate) -> Rate:
    """A number is a constant rate."""
    return lr if isinstance(lr, Rate) else _constant(lr)


@cache
def _constant(lr: float) -> ConstantRate:
    check_number("lr", lr)
    return ConstantRate(float(lr))
