"""Augmentation of the pictures of a mini-batch, drawn anew for every local step.

Draws are a function of (seed, purpose, client, round), like the mini-batches, and are made before
the round: `torch.vmap` takes no random calls inside the step, where they are applied. Only local
steps see augmented pictures; evaluations and full gradients do not.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlocal.utils.arrays import IntArray

_TRIES = 10


@dataclass(frozen=True)
class Augment(ABC):
    """A random change of pictures that keeps their shape."""

    def check(self, x: Tensor) -> None:
        """Raise ValueError for inputs [n, ...] that cannot be augmented.

        Raises:
            ValueError: They are no pictures [C, H, W] of numbers.
        """
        if x.dim() != 4 or not x.is_floating_point():
            raise ValueError(
                f"augment={self} needs pictures [C, H, W] of numbers, an example is"
                f" {list(x.shape[1:])} of {x.dtype}; use augment=none, or data that are pictures"
                " (digits: dataset.flat=false; bytes: Clients(..., pixels=Pixels(mean, std)))"
            )

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, steps: int, batch: int, size: tuple[int, int]
    ) -> IntArray:
        """Draw the augmentation of each example of each local step, [steps, batch, n].

        Args:
            rng: Generator of one client in one round. A larger
                `steps` appends draws, and the first ones stay.
            steps: Local steps.
            batch: Examples in each.
            size: Height and width of the pictures.
        """

    @abstractmethod
    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        """Augment pictures [B, C, H, W] by their draws [B, n]."""


@dataclass(frozen=True)
class NoAugment(Augment):
    """Identity: inputs stay as they are."""

    def check(self, x: Tensor) -> None:
        """Accept all inputs."""

    def draw(
        self, rng: np.random.Generator, steps: int, batch: int, size: tuple[int, int]
    ) -> IntArray:
        return np.zeros((steps, batch, 0), dtype=np.int64)

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class CropFlip(Augment):
    """Pad with zeros, cut the old size out at a random place, mirror every second picture.

    Zeros stand for the mean colour where inputs are standardised, as in the paper. torchvision's
    usual chain pads before it standardises, with black.

    Reference: He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. 2016, section 4.2.
    https://arxiv.org/abs/1512.03385

    Attributes:
        padding: Pixels added on each side; the place is one of (2 padding + 1)^2.
        flip: Whether to mirror left and right, with probability 1/2.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a negative padding."""
        if self.padding < 0:
            raise ValueError(f"augment.padding must be >= 0, got {self.padding}; usual is 4")

    def check(self, x: Tensor) -> None:
        super().check(x)
        if self.padding >= min(x.shape[2:]):
            raise ValueError(
                f"augment.padding={self.padding} may leave nothing of pictures of {x.shape[2]} x"
                f" {x.shape[3]}; an eighth of their size is usual"
            )

    def draw(
        self, rng: np.random.Generator, steps: int, batch: int, size: tuple[int, int]
    ) -> IntArray:
        """Draw top, left and whether to mirror, [steps, batch, 3]."""
        choices = np.array([2 * self.padding + 1, 2 * self.padding + 1, 1 + self.flip])
        return (rng.random((steps, batch, 3)) * choices).astype(np.int64)

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        top, left, mirrored = draws.unbind(-1)
        height, width = x.shape[-2:]
        padded = F.pad(x, [self.padding] * 4)
        rows = top.unsqueeze(1) + torch.arange(height, device=x.device)
        return _columns(_rows(padded, rows), left.unsqueeze(1) + _order(width, mirrored))


@dataclass(frozen=True)
class ResizedCrop(Augment):
    """Cut a random part out, stretch it to the old size, mirror every second picture.

    The part has a uniform share of the picture's area and a log-uniform ratio of width to height in
    [3/4, 4/3]. One that does not fit is drawn again, ten times at most; then all is kept.

    Reference: Szegedy et al. Going Deeper with Convolutions. 2015, section 6.
    https://arxiv.org/abs/1409.4842

    Attributes:
        least_area: Smallest share of the area; 0.08 in the paper, for pictures of 224 pixels.
        flip: Whether to mirror left and right, with probability 1/2.
    """

    least_area: float = 0.08
    flip: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a share outside (0, 1]."""
        if not 0 < self.least_area <= 1:
            raise ValueError(
                f"augment.least_area must be in (0, 1], got {self.least_area}; usual is 0.08"
            )

    def draw(
        self, rng: np.random.Generator, steps: int, batch: int, size: tuple[int, int]
    ) -> IntArray:
        """Draw top, left, height, width and whether to mirror, [steps, batch, 5]."""
        uniforms = rng.random((steps, batch, 2 * _TRIES + 3))
        share, ratio = np.split(uniforms[..., : 2 * _TRIES], 2, axis=-1)
        area = (self.least_area + (1 - self.least_area) * share) * size[0] * size[1]
        stretch = np.exp((2 * ratio - 1) * log(4 / 3) / 2)
        sides = np.rint(np.sqrt(area)[..., None] * np.stack([1 / stretch, stretch], -1))
        fits = ((sides >= 1) & (sides <= size)).all(-1, keepdims=True)
        first = np.argmax(fits, axis=-2)[..., None]
        kept = np.take_along_axis(np.where(fits, sides, size), first, -2).squeeze(-2)
        choices = np.concatenate([size - kept + 1, np.full((steps, batch, 1), 1 + self.flip)], -1)
        drawn = np.floor(uniforms[..., -3:] * choices)
        return np.concatenate([drawn[..., :2], kept, drawn[..., 2:]], -1).astype(np.int64)

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        top, left, tall, wide, mirrored = draws.unbind(-1)
        height, width = x.shape[-2:]
        upper, lower, down = _between(top, tall, torch.arange(height, device=x.device), height, x)
        stretched = torch.lerp(_rows(x, upper), _rows(x, lower), down[:, None, :, None])
        first, second, across = _between(left, wide, _order(width, mirrored), width, x)
        return torch.lerp(
            _columns(stretched, first), _columns(stretched, second), across[:, None, None, :]
        )


def _between(
    start: Tensor, length: Tensor, target: Tensor, size: int, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two lines to interpolate for each target line, and the second's weight.

    All are [B, size]. Pixel centres coincide; nothing outside the part is used.
    """
    start, last = start.unsqueeze(1), (start + length - 1).unsqueeze(1)
    place = (target + 0.5).to(like.dtype) * length.unsqueeze(1) / size - 0.5
    place = torch.minimum(torch.clamp(place, min=0) + start, last)
    first = place.floor().long()
    return first, torch.minimum(first + 1, last), place - first


def _order(width: int, mirrored: Tensor) -> Tensor:
    """Return columns from left to right, or from right to left where mirrored, [B, width]."""
    forwards = torch.arange(width, device=mirrored.device)
    return torch.where(mirrored.unsqueeze(1) > 0, width - 1 - forwards, forwards)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Gather the rows [B, H] of pictures [B, C, ., W]; return [B, C, H, W]."""
    return x.take_along_dim(rows[:, None, :, None], 2)


def _columns(x: Tensor, columns: Tensor) -> Tensor:
    """Gather the columns [B, W] of pictures [B, C, H, .]; return [B, C, H, W]."""
    return x.take_along_dim(columns[:, None, None, :], 3)
