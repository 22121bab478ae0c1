"""Time limits: how long a round waits for its members, and how long they compute."""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots import Guarantee, Period, Timing
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree

Lateness = Literal["partial", "drop", "next_round"]

BREAKS = {
    "partial": frozenset({Guarantee.EQUAL_STEPS, Guarantee.FULL_PARTICIPATION}),
    "drop": frozenset({Guarantee.FULL_PARTICIPATION}),
    "next_round": frozenset({Guarantee.FULL_PARTICIPATION, Guarantee.PLAIN_MEAN}),
}


@dataclass(frozen=True)
class Deadline:
    """How long a round lasts at most, and what becomes of members that would take longer.

    Attributes:
        seconds: Simulated, from the broadcast to the last answer; None waits for everybody.
        late: "partial": a member takes as many of its steps as leave time to send them, and does
            not answer if that is none. "drop": who would be late is not waited for and does not
            answer. "next_round": who needs at most twice the time works on, sits out the next
            round, and its change counts there; who needs more does not answer.
    """

    seconds: float | None = None
    late: Lateness = "partial"

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        if self.late not in BREAKS:
            raise ValueError(
                f"deadline.late must be {', '.join(get_args(Lateness))}, got {self.late!r}"
            )
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(
                f"deadline.seconds must be positive, got {self.seconds}; null waits for everybody"
            )

    @property
    def limit(self) -> float:
        """The seconds; infinite for none."""
        return inf if self.seconds is None else self.seconds

    def check(self, strategy: Strategy, x: Tensor) -> None:
        """Raise ValueError if the strategy relies on what late members make untrue."""
        if self.seconds is None:
            return
        given = f"a deadline with late={self.late}"
        if strategy.timing is Timing.ASYNCHRONOUS:
            raise ValueError(f"the strategy is asynchronous, no round waits; {given} needs rounds")
        for slot, piece in strategy.pieces():
            for broken in sorted(piece.requires & BREAKS[self.late], key=str):
                raise ValueError(
                    f"{slot}={piece} needs: {broken.value}; {given} breaks that. Use deadline=none,"
                    " or a method that allows it (local_sgd, fedavg, fednova)"
                )
        if self.late == "next_round":
            self._check_changes(strategy, x)

    def _check_changes(self, strategy: Strategy, x: Tensor) -> None:
        """What counts a round late must be a change that any anchor can take."""
        mixing, correction = strategy.mixing, strategy.correction
        kept = {
            "correction": (correction, (correction.init(x), correction.control(x))),
            "mixing": (mixing, (mixing.memory(x),)),
        }
        for slot, (piece, states) in kept.items():
            if any(state != () for state in states):
                raise ValueError(
                    f"{slot}={piece} ties what clients keep to the anchor of their own round; a"
                    " deadline with late=next_round counts changes in the round after. Use"
                    " late=drop or late=partial, or a method without such a state (local_sgd,"
                    " fedavg, slowmo)"
                )
        if strategy.timing is not Timing.BARRIER:
            raise ValueError(
                f"timing={strategy.timing.value} counts every change a round late already; use"
                " late=drop or late=partial"
            )


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


def computing_limit(period: Period) -> float:
    """Seconds after which clients stop computing; infinite for none."""
    return period.seconds if isinstance(period, FixedTime) else inf
