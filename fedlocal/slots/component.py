"""What all slots share."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Self

from fedlocal.slots.terms import Guarantee
from fedlocal.vectors.flat import ParamSpec


@dataclass(frozen=True)
class Piece(ABC):  # noqa: B024 - nothing is abstract that all slots share
    """Common to all pieces: what it relies on, and what it takes from others.

    batched_fields: Numbers that the client's half of a round calculates with, or does not read, but
        never branches on: runs of a stacked sweep that differ in them share a batch, in which each
        is a tensor [] with the run's own value.
    """

    batched_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The guarantees without which this piece does something else than it says."""
        return frozenset()

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that do not hold in a strategy with this piece."""
        return frozenset()

    def bind(self, spec: ParamSpec) -> Self:
        """The same piece, knowing the shapes of the layers."""
        return self
