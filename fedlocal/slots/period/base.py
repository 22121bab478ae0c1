"""The slots that say when clients synchronise, and who takes part."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.component import Piece
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Period(Piece):
    """How many local steps the clients take in a round."""

    @property
    def reads_clock(self) -> bool:
        """Whether that depends on the simulated seconds."""
        return False

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
class Sampling(Piece):
    """Who is invited to a round."""

    @abstractmethod
    def cohort(
        self, num_clients: int, participation: float, seed: int, round_index: int
    ) -> NDArray[np.int64]:
        """Ids of the clients of a round, sorted; `participation` is the share asked for."""
