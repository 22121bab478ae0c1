"""Quantisers: every coordinate in few bits.

The signs and levels of a message are small unsigned integers;
`fedlocal.rounds.message_bytes` packs them to the bits that `layout` declares.
"""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field
from fedlocal.slots.compress.blockwise import apply_in_blocks
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


class Quantised(NamedTuple):
    """Message of a quantiser.

    scale: Scale of the values, [1].
    codes: Integers of the smallest dtype that holds them, [P].
    """

    scale: Tensor
    codes: Tensor


@dataclass(frozen=True)
class QSGD(Compressor):
    """Random rounding of |v_i| / |v|_2 to one of `levels` + 1 values; unbiased.

    omega = min(P / s^2, sqrt(P) / s) for s = levels.

    Reference: Alistarh et al. QSGD. 2017. https://arxiv.org/abs/1610.02132

    >>> v, noise = torch.tensor([3.0, -4.0]), torch.tensor([0.5, 0.5])
    >>> message, _ = QSGD(levels=2).encode(v, (), noise)
    >>> QSGD(levels=2).decode(message, noise, size=2)
    tensor([ 2.5000, -5.0000])
    """

    levels: int = 16

    def __post_init__(self) -> None:
        """Raise ValueError unless levels is a whole number >= 1."""
        if self.levels != int(self.levels) or self.levels < 1:
            raise ValueError(
                f"levels must be a whole number >= 1, got {self.levels}; 16 takes 6 bits a scalar"
            )

    def noise_size(self, size: int) -> int:
        return size

    def variance(self, size: int) -> float:
        return min(size / self.levels**2, sqrt(size) / self.levels)

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Quantised, Tree]:
        norm = _norm(v).unsqueeze(0)
        return Quantised(norm, apply_in_blocks(self._codes, v, noise, norm)), state

    def decode(self, message: Quantised, noise: Tensor, size: int) -> Tensor:
        return apply_in_blocks(self._values, message.codes, message.scale)

    def layout(self, size: int) -> Quantised:
        return Quantised(Field(1), Field(size, 1 + self.levels.bit_length()))  # type: ignore[arg-type]

    def _codes(self, v: Tensor, noise: Tensor, norm: Tensor) -> Tensor:
        # At most s, also after rounding (see _norm); a larger level would not fit its bits.
        exact = self.levels * (v.abs() / _nonzero(norm))
        level = torch.floor(exact)
        code = level.to(self._integer) + (noise < exact - level)
        return (2 * code + (v < 0)).to(integer_dtype(1 + self.levels.bit_length()))

    def _values(self, codes: Tensor, scale: Tensor) -> Tensor:
        codes = codes.to(self._integer)
        return scale / self.levels * apply_signs((codes >> 1).to(scale.dtype), codes)

    @property
    def _integer(self) -> torch.dtype:
        # int32 is several times as fast; codes reach 2 levels + 1.
        return torch.int32 if self.levels < 2**30 else torch.int64


@dataclass(frozen=True)
class TernGrad(Compressor):
    """Random rounding of v_i / max|v| to -1, 0 or 1; unbiased. Two bits per scalar.

    Attributes:
        clip: Clipping bound in standard deviations, 2.5 in the paper; None does not clip. Clipping
            is biased, and omega then holds for the clipped vector.

    Differences from the paper: the deviation is taken about zero. About the mean it is 0 for a
    vector of equal scalars, which would be clipped to zero in every round.

    Reference: Wen et al. TernGrad. 2017. https://arxiv.org/abs/1705.07878

    >>> v, noise = torch.tensor([1.0, -4.0, 3.0]), torch.tensor([0.5, 0.5, 0.5])
    >>> message, _ = TernGrad().encode(v, (), noise)
    >>> TernGrad().decode(message, noise, size=3)
    tensor([ 0., -4.,  4.])
    """

    clip: float | None = None
    batched_fields: ClassVar[tuple[str, ...]] = ("clip",)

    def __post_init__(self) -> None:
        """Raise ValueError unless clip is positive or None."""
        if self.clip is not None:
            check_number("clip", self.clip, "; the paper's is 2.5, null clips nothing", above=0)

    def noise_size(self, size: int) -> int:
        return size

    def variance(self, size: int) -> float:
        # max|v| |v|_1 / |v|^2 - 1 is largest for one large and many equal smaller coordinates.
        return (sqrt(size) - 1) / 2

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Quantised, Tree]:
        scale = _largest(v)
        if self.clip is not None:
            scale = torch.minimum(scale, self.clip * (_norm(v) / sqrt(v.shape[0])))
        scale = scale.unsqueeze(0)
        return Quantised(scale, apply_in_blocks(_encode_ternary, v, noise, scale)), state

    def decode(self, message: Quantised, noise: Tensor, size: int) -> Tensor:
        return apply_in_blocks(_decode_ternary, message.codes, message.scale)

    def layout(self, size: int) -> Quantised:
        return Quantised(Field(1), Field(size, 2))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScaledSign(Compressor):
    """Scaled signs, (|v|_1 / P) sign(v) with sign(0) = 1. One bit per scalar; contractive.

    Attributes:
        toss: Whether the sign of a zero is random. Error feedback corrects a fixed sign; without
            it, zeros would move in the same direction in every message.

    Reference: Karimireddy et al. Error Feedback Fixes SignSGD. 2019.
    https://arxiv.org/abs/1901.09847

    >>> v = torch.tensor([1.0, -2.0, 3.0])
    >>> message, _ = ScaledSign().encode(v, (), noise=v)
    >>> ScaledSign().decode(message, noise=v, size=3)
    tensor([ 2., -2.,  2.])
    """

    toss: bool = False

    def noise_size(self, size: int) -> int:
        return size if self.toss else 0

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Quantised, Tree]:
        if self.toss:
            codes = apply_in_blocks(_draw_signs, v, noise)
        else:
            codes = apply_in_blocks(_encode_signs, v)
        return Quantised(v.abs().mean().unsqueeze(0), codes), state

    def decode(self, message: Quantised, noise: Tensor, size: int) -> Tensor:
        return apply_in_blocks(_decode_signs, message.codes, message.scale)

    def layout(self, size: int) -> Quantised:
        return Quantised(Field(1), Field(size, 1))  # type: ignore[arg-type]


def _encode_ternary(v: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
    # The scale is the largest |v_i|, or the clipping bound.
    kept = noise < torch.minimum(v.abs(), scale) / _nonzero(scale)
    return kept.to(integer_dtype(2)) * ((v < 0).to(integer_dtype(2)) + 1)


def _decode_ternary(codes: Tensor, scale: Tensor) -> Tensor:
    codes = codes.int()
    return scale * ((codes & 1) - (codes >> 1)).to(scale.dtype)


def _encode_signs(v: Tensor) -> Tensor:
    return (v < 0).to(integer_dtype(1))


def _draw_signs(v: Tensor, noise: Tensor) -> Tensor:
    return ((v < 0) | ((v == 0) & (noise < 0.5))).to(integer_dtype(1))


def _decode_signs(codes: Tensor, scale: Tensor) -> Tensor:
    return scale * (1 - 2 * codes.to(scale.dtype))


def _largest(v: Tensor) -> Tensor:
    # max |v_i| without allocating |v|; the outer abs turns -0 into 0.
    return torch.maximum(v.amax(), -v.amin()).abs()


def _norm(v: Tensor) -> Tensor:
    # |v|_2 without overflow or underflow: float32 cannot hold the square of 1e20 or 1e-23.
    # Never below the largest |v_i|: the sum holds the square of 1.
    largest = _largest(v)
    return largest * torch.linalg.vector_norm(v / _nonzero(largest))


def _nonzero(scale: Tensor) -> Tensor:
    # A zero vector is sent as zeros, not as 0 / 0.
    return torch.where(scale > 0, scale, 1.0)


def integer_dtype(bits: int) -> torch.dtype:
    """Return the smallest integer dtype that holds `bits` bits.

    >>> integer_dtype(2), integer_dtype(9)
    (torch.uint8, torch.int16)
    """
    if bits <= 8:
        return torch.uint8
    return torch.int16 if bits < 16 else torch.int32 if bits < 32 else torch.int64


def apply_signs(magnitude: Tensor, codes: Tensor) -> Tensor:
    """Negate the magnitudes whose code has its lowest bit set, [P]."""
    return magnitude * (1 - 2 * (codes & 1)).to(magnitude.dtype)
