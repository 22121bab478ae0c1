"""Low-rank compression: a layer's matrix as the product of two thin ones."""

from dataclasses import dataclass, replace
from math import pi, prod
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Dense, Field
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


class Factors(NamedTuple):
    """The factors of a matrix M [n, m] as left right^T, both flattened row by row.

    left: P, [n r].
    right: M^T P, [m r].
    """

    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class PowerSGD(Compressor):
    """Low-rank compression of every layer by one step of power iteration.

    A layer is a matrix [n, m] with n its first dimension; layers of one dimension are sent in
    full. The message is P = orth(M Q) and M^T P, which decode to P P^T M. Q of the next message is
    orth(M^T P), so the iteration continues from message to message. The compressor is biased: use
    it in `ErrorFeedback`. `bind` sets `shapes`.

    Differences from the paper: there all workers share one Q, average M Q and then M^T P, and so
    compress their mean. Here every client compresses its own vector with its own Q, in one message
    instead of two. Q starts from cosines instead of random numbers. Columns that are linearly
    dependent up to rounding are replaced by cosines as well, so that P contains no rounding noise
    and a lost rank is recovered.

    Reference: Vogels, Karimireddy, Jaggi. PowerSGD. 2019. https://arxiv.org/abs/1905.13727
    """

    rank: int = 2
    shapes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError unless rank is a whole number >= 1."""
        if self.rank != int(self.rank) or self.rank < 1:
            raise ValueError(f"rank must be a whole number >= 1, got {self.rank}; 2 is usual")

    def bind(self, spec: ParamSpec) -> "PowerSGD":
        return replace(self, shapes=spec.shapes)

    def init(self, x: Tensor) -> tuple[Tree, ...]:
        return tuple(
            _orthonormal(_cosines(part.numel() // shape[0], self._columns(shape), x))
            if len(shape) > 1
            else ()
            for part, shape in self._layers(x)
        )

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        pairs = [
            _factor(part.reshape(shape[0], -1), query) if len(shape) > 1 else (Dense(part), query)
            for (part, shape), query in zip(self._layers(v), state, strict=True)
        ]
        return tuple(message for message, _ in pairs), tuple(query for _, query in pairs)

    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        parts = zip(message, self.shapes, strict=True)
        return torch.cat([_product(part, self._columns(shape)) for part, shape in parts])

    def layout(self, size: int) -> Tree:
        return tuple(self._fields(shape) for shape in self._check_size(size))

    def _fields(self, shape: tuple[int, ...]) -> Tree:
        if len(shape) < 2:
            return Dense(Field(prod(shape)))  # type: ignore[arg-type]
        columns = self._columns(shape)
        right = columns * prod(shape[1:])
        return Factors(Field(columns * shape[0]), Field(right))  # type: ignore[arg-type]

    def _columns(self, shape: tuple[int, ...]) -> int:
        return min(self.rank, shape[0], prod(shape[1:])) if len(shape) > 1 else 0

    def _layers(self, v: Tensor) -> list[tuple[Tensor, tuple[int, ...]]]:
        shapes = self._check_size(v.shape[0])
        parts = torch.split(v, [prod(shape) for shape in shapes])
        return list(zip(parts, shapes, strict=True))

    def _check_size(self, size: int) -> tuple[tuple[int, ...], ...]:
        known = sum(prod(shape) for shape in self.shapes)
        if size != known:
            raise ValueError(
                f"PowerSGD knows layers of {known} scalars in all, got a vector of {size}; it takes"
                " a model layer by layer itself, so do not wrap it in PerLayer (per_layer=false)"
            )
        return self.shapes


def _factor(matrix: Tensor, query: Tensor) -> tuple[Factors, Tensor]:
    # Scale to unit size: float32 cannot hold the square of 1e20 or 1e-23.
    largest = torch.maximum(matrix.amax(), -matrix.amin()).abs()
    scale = torch.where(largest > 0, largest, 1.0)
    unit = matrix / scale
    left = _orthonormal(unit @ query)
    right = unit.T @ left
    # The orthonormal basis spans the same space as M^T P, so the next P is the same.
    return Factors(left.reshape(-1), scale * right.reshape(-1)), _orthonormal(right)


def _product(message: Factors | Dense, columns: int) -> Tensor:
    if isinstance(message, Dense):
        return message.values
    left, right = (factor.reshape(-1, columns) for factor in message)
    return (left @ right.T).reshape(-1)


def _orthonormal(columns: Tensor) -> Tensor:
    """Return an orthonormal basis of the columns [n, r], n >= r, completed by cosines."""
    sizes = torch.linalg.qr(columns, mode="r").R.diagonal().abs()
    dependent = sizes <= torch.finfo(columns.dtype).eps ** 0.75 * sizes.amax()
    waves = _cosines(columns.shape[0], columns.shape[1], columns)
    spanning = torch.where(dependent, waves, columns)
    return torch.linalg.qr(spanning).Q


def _cosines(rows: int, columns: int, like: Tensor) -> Tensor:
    """Return the first `columns` orthogonal waves of the cosine transform of `rows` points."""
    points = torch.arange(rows, dtype=like.dtype, device=like.device) + 0.5
    waves = torch.arange(columns, dtype=like.dtype, device=like.device)
    return torch.cos(pi / rows * points.unsqueeze(1) * waves)
