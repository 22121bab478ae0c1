"""The slot of the period: the number of local steps per round."""

from abc import abstractmethod
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.component import Component
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Period(Component):
    """A rule for the number of local steps in a round."""

    @property
    def reads_clock(self) -> bool:
        """Whether the number of steps depends on simulated seconds."""
        return False

    @property
    def seconds_limit(self) -> float:
        """Simulated seconds of computation after which clients stop; infinite for no limit."""
        return inf

    @property
    def column(self) -> str | None:
        """Metrics column that `observe` needs; None if it needs none."""
        return None

    def init(self) -> Tree:
        """Return the state before the first round."""
        return ()

    @abstractmethod
    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the local steps of each client, [S]; `epoch` [S] is its mini-batches per epoch."""

    def observe(self, state: Tree, metrics: dict[str, float | None]) -> Tree:
        """Return the state updated with the metrics of the finished round."""
        return state


@dataclass(frozen=True)
class ConstantPeriod(Period):
    """A constant period of H local steps."""

    period: int

    def __post_init__(self) -> None:
        """Raise ValueError unless period is a whole number >= 1."""
        check_period("period (H)", self.period)

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.period)


def check_period(name: str, value: int) -> None:
    """Raise ValueError unless value is a whole number >= 1."""
    check_number(name, value)
    if not isfinite(value) or value != int(value) or value < 1:
        raise ValueError(f"{name} must be a whole number of local steps >= 1, got {value}")
