"""The slots of the two links, and how a message looks."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fedlocal.slots.component import Piece
from fedlocal.vectors.trees import Tree


class Field(NamedTuple):
    """One part of a message on the wire.

    bits 0 means floating point in the message's own dtype, otherwise unsigned integers of that
    many bits, packed without gaps.
    """

    length: int
    bits: int = 0


class OptionalField(NamedTuple):
    """A part of a message, or of its layout, that travels only where its flag is 1.

    flag: In a message 0 or 1, [1]; in a layout `Field(1, bits=1)`.
    body: The part; in a message whose flag is 0, zeros that nobody reads.
    """

    flag: Tree
    body: Tree


Optional = OptionalField  # its former name


@dataclass(frozen=True)
class Compressor(Piece):
    """Encodes a vector [P] into a message and decodes it again, for either direction.

    `noise` [n] are uniforms in [0, 1) that sender and receiver both derive from
    (seed, purpose, client, round); `noise_size` says how many are needed.
    """

    @property
    def lossless(self) -> bool:
        """Whether decode(encode(v)) is always v."""
        return False

    def init(self, x: Tensor) -> Tree:
        """State before the first message; x [P] gives shape and dtype."""
        return ()

    def observe(self, state: Tree, steps: Tensor, step_sum: Tensor) -> Tree:
        """Learn before encoding how many local steps were taken, [], and their sizes' sum, []."""
        return state

    def noise_size(self, size: int) -> int:
        """Number of uniforms for a vector of `size` scalars."""
        return 0

    def variance(self, size: int) -> float:
        """Bound omega with E|C(v) - v|^2 <= omega |v|^2 if unbiased; 0 if biased (or exact)."""
        return 0.0

    @abstractmethod
    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        """The message for v [P], a tree of 1-D tensors, and the next state."""

    @abstractmethod
    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        """The vector [size] that the receiver reads out of the message."""

    @abstractmethod
    def layout(self, size: int) -> Tree:
        """A `Field` for each tensor of the message, as a tree of the same shape."""


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
