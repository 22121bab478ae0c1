"""Natural compression: every coordinate as a sign and a power of two."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field
from fedlocal.slots.compress.blockwise import apply_in_blocks
from fedlocal.slots.compress.quantise import apply_signs, integer_dtype
from fedlocal.vectors.trees import Tree


class Exponents(NamedTuple):
    """Message of `Natural`.

    codes: 2 (e + 127) + sign for +-2^e, 0 and 1 for zero, int16 [P].
    """

    codes: Tensor


@dataclass(frozen=True)
class Natural(Compressor):
    """Random rounding of |v_i| to a neighbouring power of two; unbiased, omega = 1/8.

    A scalar takes nine bits: a sign and an 8-bit exponent from -126 to 127. Magnitudes below
    2^-126 are rounded at random to zero or 2^-126. Magnitudes above 2^127 become 2^127, because
    float32 cannot hold 2^128.

    Reference: Horvath et al. Natural Compression. 2019. https://arxiv.org/abs/1905.10988

    >>> v, noise = torch.tensor([3.0, -3.0, 0.25]), torch.tensor([0.4, 0.6, 0.5])
    >>> message, _ = Natural().encode(v, (), noise)
    >>> Natural().decode(message, noise, size=3)
    tensor([ 4.0000, -2.0000,  0.2500])
    """

    def noise_size(self, size: int) -> int:
        return size

    def variance(self, size: int) -> float:
        return 1 / 8

    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Exponents, Tree]:
        return Exponents(apply_in_blocks(_encode_powers, v, noise)), state

    def decode(self, message: Exponents, noise: Tensor, size: int) -> Tensor:
        # The uniforms only give the dtype.
        return apply_in_blocks(_decode_powers, message.codes, noise[:1])

    def layout(self, size: int) -> Exponents:
        return Exponents(Field(size, 9))  # type: ignore[arg-type]


def _encode_powers(v: Tensor, noise: Tensor) -> Tensor:
    magnitude = v.abs()
    # frexp: |v| = m 2^e with m in [0.5, 1), so |v| / 2^(e-1) - 1 is the share rounded up.
    mantissa, exponent = torch.frexp(magnitude)
    code = exponent + (noise < 2 * mantissa - 1) + 126
    tiny = magnitude < 2.0**-126
    code = torch.where(tiny, noise < magnitude * 2.0**126, code)
    return (2 * torch.clamp(code, max=254) + (v < 0)).to(integer_dtype(9))


def _decode_powers(codes: Tensor, like: Tensor) -> Tensor:
    codes = codes.int()
    code = codes >> 1
    power = torch.exp2(code.to(like.dtype) - 127)
    return apply_signs(torch.where(code == 0, 0.0, power), codes)
