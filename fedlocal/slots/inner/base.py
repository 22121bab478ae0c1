"""The slot of the local optimiser, and the schedule of its step size."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Rate(Component):
    """A learning-rate schedule."""

    @abstractmethod
    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Return the step sizes of a round, [steps]; `first_step` local steps precede it."""


@dataclass(frozen=True)
class ConstantRate(Rate):
    """A constant step size."""

    lr: float
    batched_fields: ClassVar[tuple[str, ...]] = ("lr",)

    def __post_init__(self) -> None:
        """Raise ValueError unless lr is positive and finite."""
        check_lr(self.lr)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        return np.full(steps, self.lr)


@dataclass(frozen=True)
class InnerOptimiser(Component):
    """An optimiser of local steps; its server half (`control`, `report`, `combine`) shares buffers.

    averages: Whether `output` differs from the client's current model.
    """

    averages: ClassVar[bool] = False

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Linear steps and the buffers' guarantees; optimisers that keep some override this."""
        return frozenset({Guarantee.LINEAR_STEPS, Guarantee.EQUAL_BUFFERS, Guarantee.FRESH_BUFFERS})

    @abstractmethod
    def init(self, x: Tensor) -> Tree:
        """Return the buffers of a client before its first round; x [P] gives shape and dtype."""

    def control(self, x: Tensor) -> Tree:
        """Return the first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, control: Tree) -> Tree:
        """Return the buffers at the start of a round."""
        return state

    @abstractmethod
    def rates(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Return the step sizes of a round, [steps]."""

    @abstractmethod
    def step(self, x: Tensor, direction: Tensor, state: Tree, lr: Tensor) -> tuple[Tensor, Tree]:
        """Take one step from x [P] along `direction` [P]; `lr` is a scalar tensor."""

    def effective(self, rates: Tensor) -> Tensor:
        """Return the length of each step along a constant direction of 1 from empty buffers, [H].

        Args:
            rates: Step sizes of a round, [H].
        """
        return rates

    def output(self, state: Tree, x: Tensor) -> Tensor:
        """Return the model to evaluate, [P]; by default x, the client's current model."""
        return x

    def report(self, state: Tree) -> Tree:
        """Return the report that is uploaded after the round."""
        return ()

    def combine(self, control: Tree, reports: Tree, info: Round) -> Tree:
        """Return the next broadcast from the cohort's reports, each [S, ...]."""
        return control


def check_lr(lr: float) -> None:
    """Raise ValueError unless lr is positive and finite."""
    check_number("lr", lr, "; for example lr=0.1", above=0)


def as_rate(lr: float | Rate) -> Rate:
    """Return a schedule unchanged, and a number as a constant schedule."""
    return lr if isinstance(lr, Rate) else _constant(lr)


@lru_cache(typed=True)  # True is not 1.
def _constant(lr: float) -> ConstantRate:
    check_number("lr", lr)
    return ConstantRate(float(lr))
