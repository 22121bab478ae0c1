"""Residual networks for small images, with GroupNorm instead of BatchNorm.

    He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. 2016.
    https://arxiv.org/abs/1512.03385
    Two groups per layer as in Reddi et al. Adaptive Federated Optimization. 2021.
    https://arxiv.org/abs/2003.00295

torchvision's ResNet-18 is not used: its blocks add and rectify in place, and its first layers
shrink a 32x32 image to 8x8 before the first block.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.models.shapes import image_shape


def resnet20_gn(input_shape: Sequence[int], num_outputs: int, groups: int = 2) -> nn.Module:
    """Return ResNet-20 of section 4.2: widths 16, 32, 64, parameter-free shortcuts; 0.27 M.

    Args:
        input_shape: (C, H, W), at least 8x8 pixels.
        num_outputs: Number of classes.
        groups: Desired number of groups per GroupNorm.

    Raises:
        ValueError: Not an image, too small an image, or groups < 1.
    """
    return _resnet("resnet20_gn", input_shape, num_outputs, groups, (16, 32, 64), 3, False)


def resnet18_gn(input_shape: Sequence[int], num_outputs: int, groups: int = 2) -> nn.Module:
    """Return ResNet-18 with a 3x3 first layer: widths 64 to 512, 1x1 shortcuts; 11.2 M.

    Args:
        input_shape: (C, H, W), at least 8x8 pixels.
        num_outputs: Number of classes.
        groups: Desired number of groups per GroupNorm.

    Raises:
        ValueError: Not an image, too small an image, or groups < 1.
    """
    return _resnet("resnet18_gn", input_shape, num_outputs, groups, (64, 128, 256, 512), 2, True)


class PadShortcut(nn.Module):
    """Shortcut A of the paper: every second pixel, zero padding for new channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.new_channels = after - before

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, before, H, W] -> [batch, after, H / 2, W / 2]."""
        first = self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, first, self.new_channels - first))


class Block(nn.Module):
    """Residual block: two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int, groups: int, project: bool) -> None:
        super().__init__()
        self.conv1 = _conv(before, after, 3, stride)
        self.norm1 = _norm(groups, after)
        self.conv2 = _conv(after, after, 3)
        self.norm2 = _norm(groups, after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 and project:
            self.shortcut = nn.Sequential(_conv(before, after, 1, stride), _norm(groups, after))
        elif stride != 1:
            self.shortcut = PadShortcut(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, before, H, W] -> [batch, after, H / stride, W / stride]."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


def _resnet(
    name: str,
    input_shape: Sequence[int],
    num_outputs: int,
    groups: int,
    widths: Sequence[int],
    blocks_per_width: int,
    project: bool,
) -> nn.Module:
    channels, _, _ = image_shape(input_shape, name, at_least=8)
    if groups < 1:
        raise ValueError(f"model {name}: groups must be at least 1, got {groups}")
    layers = [_conv(channels, widths[0], 3), _norm(groups, widths[0]), nn.ReLU()]
    before = widths[0]
    for width in widths:
        for index in range(blocks_per_width):
            stride = 2 if index == 0 and width != widths[0] else 1
            layers.append(Block(before, width, stride, groups, project))
            before = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_outputs)
    )


def _conv(before: int, after: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _norm(groups: int, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(groups, channels), channels)
