"""No compression: every scalar in the run's own dtype."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field
from fedlocal.vectors.trees import Tree


class Dense(NamedTuple):
    """values: [P]."""

    values: Tensor


@dataclass(frozen=True)
class Identity(Compressor):
    """Send the vector as it is."""

    @property
    def lossless(self) -> bool:
        """Always."""
        return True

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Dense, Tree]:
        return Dense(v), state

    def decode(self, message: Dense, noise: Tensor, size: int) -> Tensor:
        return message.values

    def layout(self, size: int) -> Dense:
        return Dense(Field(size))  # type: ignore[arg-type]
