"""From the bytes of an image to the numbers a model sees."""

from collections.abc import Sequence

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
