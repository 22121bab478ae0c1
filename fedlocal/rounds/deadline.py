"""Time limits: how long a round waits for its members, and how long they compute."""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from torch import Tensor

from fedlocal.slots import Guarantee, Timing
from fedlocal.slots.strategy import Strategy

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
