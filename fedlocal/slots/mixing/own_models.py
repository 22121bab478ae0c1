"""The base class of mixings whose clients keep their own models."""

from dataclasses import dataclass

from fedlocal.slots.guarantees import Guarantee
from fedlocal.slots.mixing.base import Mixing


@dataclass(frozen=True)
class OwnModels(Mixing):
    """A mixing whose clients keep their own models, tracked by both ends from the messages."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Full participation and a lossless downlink: no message may be missed or inexact."""
        both_ends = {Guarantee.FULL_PARTICIPATION, Guarantee.LOSSLESS_DOWNLINK}
        return super().requires | both_ends

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """A fresh belief as well: beliefs persist across rounds."""
        return super().breaks | {Guarantee.FRESH_BELIEF}
