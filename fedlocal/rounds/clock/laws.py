"""Laws of compute time: what one local step takes, in units of its mean."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.vectors.rng import Purpose, generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Law(ABC):
    """How long a client's local steps take, one after another.

    The first n of them are the same however many are asked for, so that what fits into a time
    takes, afterwards, no longer than that time.
    """

    @abstractmethod
    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        """Length of each of a round's first `count` steps, [count]."""

    def totals(
        self, counts: IntArray, clients: IntArray, round_index: int, seed: int
    ) -> FloatArray:
        """Length of so many steps of each client together, [S]."""
        each = zip(counts.tolist(), clients.tolist(), strict=True)
        return np.array([self.steps(n, c, round_index, seed).sum() for n, c in each])


@dataclass(frozen=True)
class Constant(Law):
    """Every step takes the mean."""

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        return np.ones(count)

    def totals(
        self, counts: IntArray, clients: IntArray, round_index: int, seed: int
    ) -> FloatArray:
        return counts.astype(np.float64)


@dataclass(frozen=True)
class ShiftedExponential(Law):
    """`shift` of the mean for certain and the rest at random, exponentially, step by step.

    The usual model of stragglers (Lee et al. 2018. https://arxiv.org/abs/1512.02673); without a
    shift it is that of the analysis of AdaComm (Wang, Joshi. 2019.
    https://arxiv.org/abs/1810.08313).
    """

    shift: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.shift <= 1:
            raise ValueError(
                f"clock.law.shift must be in [0, 1], got {self.shift}; it is the share of the mean"
                " that every step takes at least"
            )

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        rng = generator(seed, Purpose.COMPUTE, client, round_index)
        return self.shift + (1 - self.shift) * rng.exponential(size=count)


@dataclass(frozen=True)
class Pareto(Law):
    """Heavy tails: a step takes longer than t times the shortest with probability t^-shape."""

    shape: float = 2.5

    def __post_init__(self) -> None:
        """Refuse a law without a mean."""
        if not self.shape > 1:
            raise ValueError(
                f"clock.law.shape must be above 1, got {self.shape}: at 1 and below a step's mean"
                " is infinite; below 2 its variance is"
            )

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        rng = generator(seed, Purpose.COMPUTE, client, round_index)
        return (1 - 1 / self.shape) * (1 + rng.pareto(self.shape, size=count))
