"""Fully connected networks."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(input_shape: Sequence[int], num_outputs: int, hidden: Sequence[int] = (128,)) -> nn.Module:
    """Return a multilayer perceptron with ReLU on the flattened input.

    `hidden=[200, 200]` is the "2NN" of McMahan et al. 2017. https://arxiv.org/abs/1602.05629

    Args:
        input_shape: Shape of one example.
        num_outputs: Number of outputs.
        hidden: Widths of the hidden layers; [] leaves a linear map.

    Raises:
        ValueError: A width below 1.

    >>> import torch
    >>> mlp((64,), 10)(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"model mlp: hidden widths must be at least 1, got {list(hidden)}")
    widths = [math.prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_outputs))
