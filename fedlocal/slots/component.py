"""The base class of all components."""

from abc import ABC
from dataclasses import dataclass
from typing import Self

from fedlocal.slots.terms import Guarantee
from fedlocal.vectors.flat import ParamSpec


@dataclass(frozen=True)
class Piece(ABC):  # noqa: B024 - nothing is abstract that all slots share
    """Base class of all components: the guarantees that it requires, and those that it breaks."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The guarantees that this component needs to be correct."""
        return frozenset()

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that do not hold in a strategy with this component."""
        return frozenset()

    def bind(self, spec: ParamSpec) -> Self:
        """Return this component with the shapes of the model's layers filled in."""
        return self
