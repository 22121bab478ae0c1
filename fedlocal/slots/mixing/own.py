"""What mixings have in common in which clients keep models of their own."""

from dataclasses import dataclass

from fedlocal.slots.mixing.base import Mixing
from fedlocal.slots.terms import Guarantee


@dataclass(frozen=True)
class OwnModels(Mixing):
    """Clients go on from models of their own, which both ends follow from message to message."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Nobody may miss a message, in either direction."""
        both_ends = {Guarantee.FULL_PARTICIPATION, Guarantee.LOSSLESS_DOWNLINK}
        return super().requires | both_ends

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """What messages leave out is remembered already."""
        return super().breaks | {Guarantee.FRESH_BELIEF}
