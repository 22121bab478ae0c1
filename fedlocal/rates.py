"""Learning-rate schedules."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedlocal.pieces import Rate


@dataclass(frozen=True)
class ConstantRate(Rate):
    """The same step size throughout."""

    lr: float

    def __post_init__(self) -> None:
        """Refuse a step size that cannot train."""
        check_lr(self.lr)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        return np.full(steps, self.lr)


@dataclass(frozen=True)
class StepRate(Rate):
    """A constant that is multiplied by `drops[t]` from round t (counted from 0) on.

    >>> StepRate(0.1, {10: 0.5}).at(round_index=10, first_step=0, steps=2)
    array([0.05, 0.05])
    """

    lr: float
    drops: dict[int, float] = field(default_factory=dict[int, float], hash=False)

    def __post_init__(self) -> None:
        """Refuse a step size that cannot train."""
        check_lr(self.lr)

    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        factors = [factor for start, factor in self.drops.items() if round_index >= start]
        return np.full(steps, self.lr * float(np.prod(factors)))


def check_lr(lr: float) -> None:
    """Raise ValueError unless lr is positive and finite."""
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, got {lr}; for example lr=0.1")


def as_rate(lr: float | Rate) -> Rate:
    """A number is a constant rate."""
    return lr if isinstance(lr, Rate) else ConstantRate(float(lr))
