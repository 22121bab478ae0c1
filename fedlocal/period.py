"""Periods: how many local steps the clients take between two synchronisations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.pieces import Guarantee, Period
from fedlocal.trees import Tree


@dataclass(frozen=True)
class ConstantPeriod(Period):
    """H local steps in every round."""

    period: int

    def __post_init__(self) -> None:
        """Refuse a round without a step."""
        check_period("period (H)", self.period)

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.period)


@dataclass(frozen=True)
class SwitchPeriod(Period):
    """`before` local steps until round `at` (counted from 0), then `after`."""

    before: int
    after: int
    at: int

    def __post_init__(self) -> None:
        """Refuse a round without a step."""
        check_period("period before the switch", self.before)
        check_period("period (H)", self.after)
        if self.at < 0:
            raise ValueError(f"the switch round must be >= 0, got {self.at}")

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.before if round_index < self.at else self.after)


@dataclass(frozen=True)
class Epochs(Period):
    """A number of passes over each client's own data, so that large clients take more steps."""

    epochs: float

    def __post_init__(self) -> None:
        """Refuse a round without a step."""
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs must be positive, got {self.epochs}; for example epochs=1")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Clients of different sizes take different numbers of steps."""
        return frozenset({Guarantee.EQUAL_STEPS})

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        # The small allowance keeps 1.1 * 50 = 55.00000000000001 from becoming 56.
        return np.maximum(1, np.ceil(self.epochs * epoch - 1e-9)).astype(np.int64)


def check_period(name: str, value: int) -> None:
    """Raise ValueError unless value is a whole number >= 1."""
    if isinstance(value, bool) or value != int(value) or value < 1:
        raise ValueError(f"{name} must be a whole number of local steps >= 1, got {value}")


def period_of(period: int | Period, epochs: float | None = None) -> Period:
    """The period a strategy was asked for: a number is constant, `epochs` goes before it."""
    if epochs is not None:
        return Epochs(epochs)
    return period if isinstance(period, Period) else ConstantPeriod(period)
