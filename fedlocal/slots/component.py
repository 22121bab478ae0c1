"""The base class of all components."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Self

from fedlocal.slots.guarantees import Guarantee
from fedlocal.vectors.flat import ParamSpec

# Former names of methods and attributes. Under them an override would be ignored silently.
RENAMED = {
    "told": "transmitted_model",
    "legs": "message_counts",
    "surveys": "needs_gradient_exchange",
    "surveyed": "combine_gradients",
}


@dataclass(frozen=True)
class Component(ABC):  # noqa: B024 - nothing is abstract that all slots share
    """Base class of all components: required and broken guarantees, and fields that may be batched.

    batched_fields: Names of numbers that the client half computes with, or does not read, but never
        branches on. Runs of a batched sweep that differ in them share a batch, in which each is a
        tensor [] with the run's own value.
    """

    batched_fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Raise TypeError for a former name of a method or attribute."""
        for former in RENAMED.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__name__}.{former} is named {RENAMED[former]} now; rename it")

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


Piece = Component  # its former name
