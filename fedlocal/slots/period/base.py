"""The slot that says when clients synchronise."""

from abc import abstractmethod
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.component import Piece
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Period(Piece):
    """How many local steps the clients take in a round."""

    @property
    def reads_clock(self) -> bool:
        """Whether that depends on the simulated seconds."""
        return False

    @property
    def seconds_limit(self) -> float:
        """Simulated seconds after which clients stop computing; infinite for no limit."""
        return inf

    @property
    def column(self) -> str | None:
        """Column of the rows that `observe` waits for; None where it needs none."""
        return None

    def init(self) -> Tree:
        """State before the first round."""
        return ()

    @abstractmethod
    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        """Local steps of each cohort member, [S]; `epoch` [S] is its examples / its batch."""

    def observe(self, state: Tree, metrics: dict[str, float | None]) -> Tree:
        """Learn from the finished round's row of metrics."""
        return state


@dataclass(frozen=True)
class ConstantPeriod(Period):
    """H local steps in every round."""

    period: int

    def __post_init__(self) -> None:
        """Refuse a round without a step."""
        check_period("period (H)", self.period)

    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.full(len(epoch), self.period)


def check_period(name: str, value: int) -> None:
    """Raise ValueError unless value is a whole number >= 1."""
    check_number(name, value)
    if isinstance(value, bool) or value != int(value) or value < 1:
        raise ValueError(f"{name} must be a whole number of local steps >= 1, got {value}")
