"""Periods that are known before the run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.guarantees import Guarantee
from fedlocal.slots.period.base import ConstantPeriod, Period, check_period
from fedlocal.utils.checks import check_number, check_whole
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class SwitchPeriod(Period):
    """A period that switches from `before` to `after` at round `at` (counted from 0)."""

    before: int
    after: int
    at: int

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_period("period before the switch", self.before)
        check_period("period (H)", self.after)
        check_whole("the switch round", self.at, 0)

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.before if round_index < self.at else self.after)


@dataclass(frozen=True)
class Epochs(Period):
    """A number of epochs over each client's own data; large clients take more steps."""

    epochs: float

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_number("epochs", self.epochs, "; for example epochs=1", above=0)

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Equal steps: clients of different sizes take different numbers of steps."""
        return frozenset({Guarantee.EQUAL_STEPS})

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        # The small allowance keeps 1.1 * 50 = 55.00000000000001 from becoming 56.
        return np.maximum(1, np.ceil(self.epochs * epoch - 1e-9)).astype(np.int64)


@dataclass(frozen=True)
class StepPeriod(Period):
    """A period that advances to the next of `periods` at each round of `at` (counted from 0).

    >>> StepPeriod(periods=(20, 10, 40), at=(5, 8)).steps((), 7, np.ones(2))
    array([10, 10])
    """

    periods: tuple[int, ...]
    at: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless all periods are >= 1 and the rounds increase."""
        # Lists of a configuration are not hashable.
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
    """Explicit numbers of local steps, one per round; the last one is repeated.

    Reference: Stich. Local SGD Converges Fast and Communicates Little. 2019 (the set I_T).
    https://arxiv.org/abs/1805.09767
    """

    gaps: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless there is a gap and all gaps are >= 1."""
        # Lists of a configuration are not hashable.
        object.__setattr__(self, "gaps", tuple(self.gaps))
        if not self.gaps:
            raise ValueError("gaps must hold at least one number of local steps, got none")
        for gap in self.gaps:
            check_period("each of gaps", gap)

    @classmethod
    def at_steps(cls, steps: Sequence[int]) -> "GapSet":
        """Return the gaps for synchronisation after these local steps, counted from 1.

        >>> GapSet.at_steps([1, 4, 10])
        GapSet(gaps=(1, 3, 6))
        """
        return cls(tuple(np.diff([0, *steps]).tolist()))

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.gaps[min(round_index, len(self.gaps) - 1)])


@dataclass(frozen=True)
class FixedTime(Period):
    """A fixed compute time per round: each client takes as many steps as it can.

    A client that does not finish one step uploads nothing.

    Attributes:
        seconds: Simulated seconds of computation, without communication.
        most: Maximum number of local steps.
    """

    seconds: float
    most: int = 1000

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_number("seconds", self.seconds, above=0, infinite=True)
        check_whole("most", self.most, 1)

    @property
    def seconds_limit(self) -> float:
        return self.seconds

    @property
    def reads_clock(self) -> bool:
        return True

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A barrier: the time limit ends a round for all clients."""
        return frozenset({Guarantee.BARRIER})

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Equal steps and full participation: slow clients take fewer steps, or none."""
        return frozenset({Guarantee.EQUAL_STEPS, Guarantee.FULL_PARTICIPATION})

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.most)


def period_of(period: int | Period, epochs: float | None = None) -> Period:
    """Return the period of a strategy: `epochs` if given, else `period`; a number is constant."""
    if epochs is not None:
        return Epochs(epochs)
    return period if isinstance(period, Period) else ConstantPeriod(period)
