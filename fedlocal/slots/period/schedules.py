"""Periods that are known before the run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.period.base import ConstantPeriod, Period, check_period
from fedlocal.slots.terms import Guarantee
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


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
        check_number("the switch round", self.at)
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
        check_number("epochs", self.epochs)
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs must be positive, got {self.epochs}; for example epochs=1")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Clients of different sizes take different numbers of steps."""
        return frozenset({Guarantee.EQUAL_STEPS})

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        # The small allowance keeps 1.1 * 50 = 55.00000000000001 from becoming 56.
        return np.maximum(1, np.ceil(self.epochs * epoch - 1e-9)).astype(np.int64)


@dataclass(frozen=True)
class StepPeriod(Period):
    """The first of `periods`, and the next one from every round of `at` (counted from 0) on.

    >>> StepPeriod(periods=(20, 10, 40), at=(5, 8)).steps((), 7, np.ones(2))
    array([10, 10])
    """

    periods: tuple[int, ...]
    at: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a round without a step, and changes that do not follow each other."""
        # A configuration has lists, which have no hash.
        object.__setattr__(self, "periods", tuple(self.periods))
        object.__setattr__(self, "at", tuple(self.at))
        for period in self.periods:
            check_period("each of periods", period)
        if len(self.periods) != len(self.at) + 1 or list(self.at) != sorted(set(self.at)):
            raise ValueError(
                "at must hold growing rounds, one less than there are periods, got"
                f" periods={list(self.periods)} and at={list(self.at)}"
            )

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        begun = int(np.searchsorted(self.at, round_index, side="right"))
        return np.full(len(epoch), self.periods[begun])


@dataclass(frozen=True)
class GapSet(Period):
    """Gaps of one's choice between synchronisations, one a round; the last one goes on.

    Reference: Stich. Local SGD Converges Fast and Communicates Little. 2019 (the set I_T).
    https://arxiv.org/abs/1805.09767
    """

    gaps: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse no gap at all, and a round without a step."""
        # A configuration has lists, which have no hash.
        object.__setattr__(self, "gaps", tuple(self.gaps))
        if not self.gaps:
            raise ValueError("gaps must hold at least one number of local steps, got none")
        for gap in self.gaps:
            check_period("each of gaps", gap)

    @classmethod
    def at_steps(cls, steps: Sequence[int]) -> "GapSet":
        """Synchronise after these local steps, counted from 1.

        >>> GapSet.at_steps([1, 4, 10])
        GapSet(gaps=(1, 3, 6))
        """
        return cls(tuple(np.diff([0, *steps]).tolist()))

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.gaps[min(round_index, len(self.gaps) - 1)])


@dataclass(frozen=True)
class FixedTime(Period):
    """Every member computes for so many simulated seconds, however many steps that is.

    Who does not finish one step does not answer.

    Attributes:
        seconds: Of computing; messages come on top.
        most: Local steps that are enough, however fast a client is.
    """

    seconds: float
    most: int = 1000

    def __post_init__(self) -> None:
        """Refuse a round without a step."""
        check_number("seconds", self.seconds)
        check_number("most", self.most)
        if not (self.seconds > 0 and self.most >= 1):
            raise ValueError(
                "the seconds of computing must be positive and the most steps >= 1, got"
                f" {self.seconds} and {self.most}"
            )

    @property
    def seconds_limit(self) -> float:
        return self.seconds

    @property
    def reads_clock(self) -> bool:
        return True

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A time limit ends a round for all."""
        return frozenset({Guarantee.BARRIER})

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Slow clients take fewer steps, or none."""
        return frozenset({Guarantee.EQUAL_STEPS, Guarantee.FULL_PARTICIPATION})

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.most)


def period_of(period: int | Period, epochs: float | None = None) -> Period:
    """The period a strategy was asked for: a number is constant, `epochs` goes before it."""
    if epochs is not None:
        return Epochs(epochs)
    return period if isinstance(period, Period) else ConstantPeriod(period)
