"""Learning-rate schedules.

`by_round` keeps a round's first step size throughout the round, which some methods require.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.inner.base import Rate, check_lr
from fedlocal.utils.checks import check_number


@dataclass(frozen=True)
class StepRate(Rate):
    """A step schedule: `lr` is multiplied by `drops[t]` from round t (counted from 0) on.

    >>> StepRate(0.1, {10: 0.5}).at(round_index=10, first_step=0, steps=2)
    array([0.05, 0.05])
    """

    lr: float
    drops: dict[int, float] = field(default_factory=dict[int, float], hash=False)
    batched_fields: ClassVar[tuple[str, ...]] = ("lr",)

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_lr(self.lr)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        factors = [factor for start, factor in self.drops.items() if round_index >= start]
        return np.full(steps, self.lr * float(np.prod(factors)))


def step_rate(lr: float, at: Sequence[int], factor: float = 0.1) -> StepRate:
    """Return a step schedule: `lr` is multiplied by `factor` at each round of `at`, from 0."""
    return StepRate(lr, dict.fromkeys(at, factor))


@dataclass(frozen=True)
class ExponentialRate(Rate):
    """An exponential schedule: `lr` is multiplied by `factor` after every round."""

    lr: float
    factor: float = 0.99
    batched_fields: ClassVar[tuple[str, ...]] = ("lr", "factor")

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_lr(self.lr)
        check_number("factor", self.factor)
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor must be in (0, 1], got {self.factor}; for example 0.99")

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        return np.full(steps, self.lr * self.factor**round_index)


@dataclass(frozen=True)
class CosineRate(Rate):
    """A cosine schedule from `lr` to `last` over `rounds` rounds, updated at every step.

    Time is in rounds, so that the schedule ends with the run for all periods. Later rounds keep the
    last step size.

    >>> CosineRate(0.1, rounds=2).at(round_index=1, first_step=3, steps=2).round(4)
    array([0.05  , 0.0146])
    """

    lr: float
    rounds: int
    last: float = 0.0
    by_round: bool = False
    batched_fields: ClassVar[tuple[str, ...]] = ("lr", "last")

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_lr(self.lr)
        check_number("rounds of the cosine", self.rounds, least=1)
        check_number("last", self.last)
        if not 0 <= self.last <= self.lr:
            raise ValueError(f"last must be between 0 and lr = {self.lr}, got {self.last}")

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        step = 1 if self.by_round else 1 / steps
        passed = round_index + step * _inside(steps, self.by_round)
        # Stops before the end, where the step size may be zero.
        share = np.minimum(passed, self.rounds - step) / self.rounds
        return self.last + (self.lr - self.last) * (1 + np.cos(np.pi * share)) / 2


@dataclass(frozen=True)
class InverseTimeRate(Rate):
    """An inverse-time schedule, eta_t = lr shift / (shift + t) in local step t.

    It starts at `lr` and is half of it at t = shift.
    """

    lr: float
    shift: float
    by_round: bool = False
    batched_fields: ClassVar[tuple[str, ...]] = ("lr", "shift")

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_lr(self.lr)
        check_number("shift", self.shift, above=0)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        passed = first_step + _inside(steps, self.by_round)
        return self.lr * self.shift / (self.shift + passed)


def stich_rate(strong_convexity: float, shift: float, by_round: bool = False) -> InverseTimeRate:
    """Return eta_t = 4 / (mu (a + t)), for local SGD on mu-strongly convex losses.

    The theorem requires a shift a > max(16 kappa, H).

    Reference: Stich. Local SGD Converges Fast and Communicates Little. 2019.
    https://arxiv.org/abs/1805.09767
    """
    check_number("strong_convexity", strong_convexity, above=0)
    check_number("shift", shift, above=0)
    return InverseTimeRate(4 / (strong_convexity * shift), shift, by_round)


@dataclass(frozen=True)
class WarmupRate(Rate):
    """Linear warm-up: another schedule times a factor that grows to 1 in `steps` local steps.

    The factor of local step t is first + (1 - first) (t + 1) / steps, and 1 later.

    >>> WarmupRate(StepRate(0.1), steps=4).at(round_index=0, first_step=2, steps=3)
    array([0.075, 0.1  , 0.1  ])
    """

    rate: Rate
    steps: int
    first: float = 0.0
    by_round: bool = False
    batched_fields: ClassVar[tuple[str, ...]] = ("first",)

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_number("steps of the warm-up", self.steps, least=1)
        check_number("first", self.first)
        if not 0 <= self.first <= 1:
            raise ValueError(f"first must be a factor in [0, 1], got {self.first}")

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        passed = first_step + _inside(steps, self.by_round)
        share = np.minimum(1.0, (passed + 1) / self.steps)
        return (self.first + (1 - self.first) * share) * self.rate.at(
            round_index, first_step, steps
        )


def _inside(steps: int, by_round: bool) -> NDArray[np.float64]:
    """Return the number of steps that precede each step within its round, [steps]."""
    return np.zeros(steps) if by_round else np.arange(steps, dtype=np.float64)
