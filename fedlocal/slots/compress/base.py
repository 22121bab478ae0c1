"""Base class of compressors, and the layout of their messages."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.vectors.trees import Tree


class Field(NamedTuple):
    """Tensor of a message on the wire.

    length: Number of values.
    bits: 0 for floating point in the run's dtype, else the width of unsigned integers, which are
        packed without gaps.
    """

    length: int
    bits: int = 0


class OptionalField(NamedTuple):
    """A part of a message, or of its layout, that is sent only if its flag is 1.

    flag: 0 or 1, [1], in a message; `Field(1, bits=1)` in a layout.
    body: The part; zeros, which are not read, in a message with flag 0.
    """

    flag: Tree
    body: Tree


Optional = OptionalField  # its former name


@dataclass(frozen=True)
class Compressor(Component):
    """A compressor, which encodes a vector [P] as a message and decodes it, for either link.

    `noise` [n] are uniforms in [0, 1) that sender and receiver both derive from
    (seed, purpose, client, round); `noise_size` is their number.
    """

    @property
    def lossless(self) -> bool:
        """Whether decode(encode(v)) is always v."""
        return False

    def init(self, x: Tensor) -> Tree:
        """Return the state before the first message; x [P] gives shape and dtype."""
        return ()

    def observe(self, state: Tree, steps: Tensor, step_sum: Tensor) -> Tree:
        """Return the state after a round's local steps, their number [] and sum of sizes []."""
        return state

    def noise_size(self, size: int) -> int:
        """Return the number of uniforms for a vector of `size` scalars."""
        return 0

    def variance(self, size: int) -> float:
        """Return omega with E|C(v) - v|^2 <= omega |v|^2 if unbiased; 0 if biased or exact."""
        return 0.0

    @abstractmethod
    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        """Return the message for v [P], a tree of 1-D tensors, and the next state."""

    @abstractmethod
    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        """Return the vector [size] that the receiver decodes from the message."""

    @abstractmethod
    def layout(self, size: int) -> Tree:
        """Return a `Field` for each tensor of the message, as a tree of the same structure."""


class Dense(NamedTuple):
    """An uncompressed message.

    values: The vector, [P].
    """

    values: Tensor


@dataclass(frozen=True)
class Identity(Compressor):
    """No compression."""

    @property
    def lossless(self) -> bool:
        """True."""
        return True

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Dense, Tree]:
        return Dense(v), state

    def decode(self, message: Dense, noise: Tensor, size: int) -> Tensor:
        return message.values

    def layout(self, size: int) -> Dense:
        return Dense(Field(size))  # type: ignore[arg-type]
