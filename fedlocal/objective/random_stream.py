"""Random numbers as a function of a key, the number of the call and the element."""

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
Shape = tuple[int, ...]


class Stream:
    """Draws numbers from a key; every call gives new ones.

    Only integer arithmetic sees the key: under `torch.vmap` it is one number per client.

    Args:
        key: int64, [].
    """

    def __init__(self, key: Tensor) -> None:
        self._key = key
        self._calls = 0

    def bits(self, shape: Shape) -> Tensor:
        """Draw pseudo-random integers in [0, 2^53), int64 [*shape].

        Reference: Steele, Lea, Flood. Fast splittable pseudorandom number generators. 2014.
        https://doi.org/10.1145/2660193.2660195
        """
        self._calls += 1
        index = torch.arange(math.prod(shape), device=self._key.device).reshape(shape)
        stream = mix_bits(self._key + wrap_to_int64(self._calls * GOLDEN))
        return _shifted(mix_bits(stream + (index + 1) * GOLDEN), 11)

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Draw uniforms in [0, 1), [*shape], of 53 random bits in float64, 24 in other dtypes."""
        bits = self.bits(shape)
        if dtype == torch.float64:
            return bits.to(dtype) * 2.0**-53
        return ((bits >> 29).to(torch.float32) * 2.0**-24).to(dtype)

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Draw standard normals, [*shape], by the transform of Box and Muller."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(shape, dtype)))
        return radius * torch.cos(2 * math.pi * self.uniform(shape, dtype))

    def kept(self, like: Tensor, p: float, shape: Shape) -> Tensor:
        """Draw a mask that is 0 with probability p and else 1, [*shape], in the dtype of `like`."""
        return (self.uniform(shape, torch.float32) >= p).to(like.dtype)

    def zeros_per_client(self, t: Tensor) -> Tensor:
        """Return zeros like `t`, to be filled in place, that vmap treats as one per client."""
        return torch.zeros_like(t) + (self._key & 0).to(t.dtype)


def wrap_to_int64(value: int) -> int:
    """Return the int64 with the same last 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


def mix_bits(z: Tensor) -> Tensor:
    """Apply the finaliser of splitmix64 to each int64."""
    z = (z ^ _shifted(z, 30)) * -4658895280553007687
    z = (z ^ _shifted(z, 27)) * -7723592293110705685
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    # Right shifts of int64 repeat the sign bit, which the mask clears.
    return (z >> by) & ((1 << (64 - by)) - 1)
