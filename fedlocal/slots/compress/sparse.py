"""Sparsifiers: a few coordinates of a vector.

`layout` declares the fields of a message; `rounds/message_bytes.py` counts and packs their bits.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field
from fedlocal.slots.compress.blockwise import is_long
from fedlocal.slots.compress.top_k_select import largest
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Sparsifier(Compressor):
    """A compressor that keeps `kept(P)` = ceil(ratio P) of P coordinates, at least one."""

    ratio: float = 0.01

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 < ratio <= 1."""
        check_number("ratio", self.ratio)
        if not 0 < self.ratio <= 1:
            raise ValueError(
                f"ratio must be in (0, 1], got {self.ratio}; 0.01 keeps one coordinate in 100"
            )

    @property
    def lossless(self) -> bool:
        """Whether all coordinates are kept."""
        return self.ratio == 1

    def kept(self, size: int) -> int:
        """Return the number of coordinates sent out of `size`."""
        # The small allowance keeps 0.07 * 100 = 7.000000000000001 from becoming 8.
        return max(1, ceil(self.ratio * size * (1 - 1e-12)))


class Sparse(NamedTuple):
    """Message of `TopK`.

    values: Kept coordinates, [k].
    indices: Their positions in 0..P-1, int64 [k].
    """

    values: Tensor
    indices: Tensor


@dataclass(frozen=True)
class TopK(Sparsifier):
    """The k coordinates of largest magnitude. Contractive with delta = k / P.

    >>> v = torch.tensor([0.1, -3.0, 0.5, 2.0])
    >>> message, _ = TopK(0.5).encode(v, (), noise=v)
    >>> TopK(0.5).decode(message, noise=v, size=4)
    tensor([ 0., -3.,  0.,  2.])
    """

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Sparse, Tree]:
        k = self.kept(v.shape[0])
        # For few of many, torch returns descending order; `largest` does too, and is much faster.
        # They differ only in the order of ties, which torch does not specify.
        few = is_long(v) and 64 * k <= v.shape[0]
        indices = largest(torch.abs, v, k) if few else torch.topk(v.abs(), k, sorted=False).indices
        return Sparse(v.gather(0, indices), indices), state

    def decode(self, message: Sparse, noise: Tensor, size: int) -> Tensor:
        zeros = message.values.new_zeros(size)
        return zeros.index_put_((message.indices,), message.values)

    def layout(self, size: int) -> Sparse:
        k = self.kept(size)
        index_bits = max(1, (size - 1).bit_length())
        return Sparse(Field(k), Field(k, index_bits))  # type: ignore[arg-type]


class Values(NamedTuple):
    """Message of `RandomK`.

    values: Coordinates at positions that both ends derive from the noise, [k].
    """

    values: Tensor


@dataclass(frozen=True)
class RandomK(Sparsifier):
    """k random coordinates; both ends derive the positions from the noise, so none is sent.

    Attributes:
        unbiased: Whether values are scaled by P / k (omega = P / k - 1). Unscaled, the compressor
            is contractive with delta = k / P; error feedback uses that form in either case.

    >>> v, noise = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.3, 0.1, 0.9, 0.7])
    >>> message, _ = RandomK(0.5).encode(v, (), noise)
    >>> RandomK(0.5).decode(message, noise, size=4)
    tensor([2., 4., 0., 0.])
    """

    unbiased: bool = True

    def noise_size(self, size: int) -> int:
        return size

    def variance(self, size: int) -> float:
        return size / self.kept(size) - 1 if self.unbiased else 0.0

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Values, Tree]:
        return Values(v.gather(0, self._indices(noise, v.shape[0]))), state

    def decode(self, message: Values, noise: Tensor, size: int) -> Tensor:
        scale = 1 + self.variance(size)
        zeros = message.values.new_zeros(size)
        return zeros.index_put_((self._indices(noise, size),), scale * message.values)

    def layout(self, size: int) -> Values:
        return Values(Field(self.kept(size)))  # type: ignore[arg-type]

    def _indices(self, noise: Tensor, size: int) -> Tensor:
        # A stable sort breaks ties in the noise equally for one client and for many.
        if noise.device.type == "cpu":
            return largest(torch.neg, noise, self.kept(size))
        return torch.argsort(noise, stable=True)[: self.kept(size)]
