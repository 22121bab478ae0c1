"""Random numbers as a function of a key, the number of the call and the element."""

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
Shape = tuple[int, ...]


class Stream:
    """Draws numbers from a key, others at every call.

    Only integer arithmetic sees the key: under `torch.vmap` it is one number per client.

    Args:
        key: int64, [].
    """

    def __init__(self, key: Tensor) -> None:
        self._key = key
        self._calls = 0

    def bits(self, shape: Shape) -> Tensor:
        """Pseudo-random integers in [0, 2^53), int64 [*shape]; others at every call.

        Reference: Steele, Lea, Flood. Fast splittable pseudorandom number generators. 2014.
        https://doi.org/10.1145/2660193.2660195
        """
        self._calls += 1
        index = torch.arange(math.prod(shape), device=self._key.device).reshape(shape)
        stream = mixed(self._key + wrapped(self._calls * GOLDEN))
        return _shifted(mixed(stream + (index + 1) * GOLDEN), 11)

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Uniforms in [0, 1), [*shape]: 53 random bits in float64, 24 in any other dtype."""
        bits = self.bits(shape)
        if dtype == torch.float64:
            return bits.to(dtype) * 2.0**-53
        return ((bits >> 29).to(torch.float32) * 2.0**-24).to(dtype)

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Standard normals, [*shape]: Box and Muller's transform of two uniforms."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(shape, dtype)))
        return radius * torch.cos(2 * math.pi * self.uniform(shape, dtype))

    def kept(self, like: Tensor, p: float, shape: Shape) -> Tensor:
        """A mask that is 0 with probability p and else 1, of the dtype of `like`, [*shape]."""
        return (self.uniform(shape, torch.float32) >= p).to(like.dtype)

    def batched(self, t: Tensor) -> Tensor:
        """Zeros like `t` that vmap knows as one tensor per client, to be filled in place."""
        return torch.zeros_like(t) + (self._key & 0).to(t.dtype)


def wrapped(value: int) -> int:
    """The int64 that has the same last 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


def mixed(z: Tensor) -> Tensor:
    """The finaliser of splitmix64, elementwise on int64."""
    z = (z ^ _shifted(z, 30)) * -4658895280553007687
    z = (z ^ _shifted(z, 27)) * -7723592293110705685
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    # int64 shifts repeat the sign; the mask takes that away.
    return (z >> by) & ((1 << (64 - by)) - 1)
