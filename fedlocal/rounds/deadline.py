"""Deadline of a round, and treatment of late members."""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from torch import Tensor

from fedlocal.slots import Guarantee, Timing
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number

Lateness = Literal["partial", "drop", "next_round"]

BREAKS = {
    "partial": frozenset({Guarantee.EQUAL_STEPS, Guarantee.FULL_PARTICIPATION}),
    "drop": frozenset({Guarantee.FULL_PARTICIPATION}),
    "next_round": frozenset({Guarantee.FULL_PARTICIPATION, Guarantee.PLAIN_MEAN}),
}


@dataclass(frozen=True)
class Deadline:
    """Maximum length of a round, and treatment of members that need more time.

    Attributes:
        seconds: Simulated seconds from the broadcast to the last upload; None waits for everybody.
        late: "partial": a member takes as many of its steps as leave time for the upload, and
            sends nothing if that is none. "drop": a late member sends nothing. "next_round": a
            member that needs at most twice the time keeps working, is not invited to the next
            round, and its update counts there; one that needs more sends nothing.
    """

    seconds: float | None = None
    late: Lateness = "partial"

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown treatment or a time that is not positive."""
        if self.late not in BREAKS:
            raise ValueError(
                f"deadline.late must be {', '.join(get_args(Lateness))}, got {self.late!r}"
            )
        if self.seconds is not None:
            advice = "; null waits for everybody"
            check_number("deadline.seconds", self.seconds, advice, above=0, infinite=True)

    @property
    def limit(self) -> float:
        """The deadline in seconds; infinity for none."""
        return inf if self.seconds is None else self.seconds

    def check(self, strategy: Strategy, x: Tensor) -> None:
        """Raise ValueError if the strategy relies on a guarantee that late members break."""
        if self.seconds is None:
            return
        given = f"a deadline with late={self.late}"
        if strategy.timing is Timing.ASYNCHRONOUS:
            raise ValueError(f"{given} needs synchronous rounds, and this strategy is asynchronous")
        for slot, component in strategy.components():
            for broken in sorted(component.requires & BREAKS[self.late], key=str):
                raise ValueError(
                    f"{slot}={component} needs: {broken.value}; {given} breaks that. Use"
                    " deadline=none, or a method that allows it (local_sgd, fedavg, fednova)"
                )
        if self.late == "next_round":
            self._check_changes(strategy, x)

    def _check_changes(self, strategy: Strategy, x: Tensor) -> None:
        """Raise ValueError if an update cannot be applied to a later anchor."""
        mixing, correction = strategy.mixing, strategy.correction
        kept = {
            "correction": (correction, (correction.init(x), correction.control(x))),
            "mixing": (mixing, (mixing.memory(x),)),
        }
        for slot, (component, states) in kept.items():
            if any(state != () for state in states):
                raise ValueError(
                    f"{slot}={component} keeps client state that is valid for the round's own"
                    " anchor only, and late=next_round applies a late update to the next one. Use"
                    " late=drop or late=partial, or a method without such a state (local_sgd,"
                    " fedavg, slowmo)"
                )
        if strategy.timing is not Timing.BARRIER:
            raise ValueError(
                f"timing={strategy.timing.value} counts every change a round late already; use"
                " late=drop or late=partial"
            )
