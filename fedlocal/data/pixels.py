"""Conversion of the bytes of an image to the numbers that a model sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def standardise(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale bytes to 0..1, then subtract `mean` and divide by `std`, channel by channel.

    Args:
        images: [n, C, H, W].
        mean: One per channel, on the 0..1 scale.
        std: One per channel, on the 0..1 scale.

    Returns:
        float32 [n, C, H, W].
    """
    x = torch.from_numpy(images.astype(np.float32, order="C"))
    # In place: `x` is a copy, and an image set is the largest thing in memory.
    x.div_(255.0).sub_(torch.tensor(mean).view(-1, 1, 1))
    return x.div_(torch.tensor(std).view(-1, 1, 1))


class Scale(NamedTuple):
    """mean, std: On the 0..1 scale, [C, 1, 1], in the dtype and on the device of a run."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Pixels:
    """Meaning of the bytes of pictures: (byte / 255 - mean) / std, channel by channel.

    Pictures kept as bytes take a quarter of the memory; a mini-batch becomes numbers on the device.

    Attributes:
        mean: One per channel, on the 0..1 scale.
        std: One per channel, on the 0..1 scale.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def check(self, x: Tensor) -> None:
        """Refuse inputs [n, ...] that are no bytes of pictures with so many channels."""
        if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] != len(self.mean):
            raise ValueError(
                f"pixels={self} needs uint8 pictures [n, {len(self.mean)}, H, W], got {x.dtype}"
                f" {list(x.shape)}; leave pixels out where inputs are numbers already"
            )

    def scale(self, like: Tensor) -> Scale:
        """Mean and standard deviation in the dtype and on the device of `like`."""
        return Scale(*(like.new_tensor(each).view(-1, 1, 1) for each in (self.mean, self.std)))


# The usual choice for photographs of unknown origin.
IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalise(x: Tensor, scale: Scale | None) -> Tensor:
    """Return the numbers [..., C, H, W] that bytes of the same shape mean; x without a scale."""
    return x if scale is None else (x.to(scale.mean.dtype) / 255.0 - scale.mean) / scale.std
