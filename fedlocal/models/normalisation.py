"""Replaces batch normalisation by group normalisation.

Running means and variances of clients with different data fit none of them after an average, and
strategies whose clients keep models of their own cannot average them. A model with GroupNorm has no
buffers and runs under every strategy.
"""

import math
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def batch_norm_to_group_norm(module: Module, groups: int = 2) -> Module | nn.GroupNorm:
    """Replace every BatchNorm1d and BatchNorm2d, however deep, by a GroupNorm.

    Scale and shift keep their values. A layer whose number of channels `groups` does not divide
    gets the largest number of groups that divides both.

    Sources: Wu and He. Group Normalization. 2018. https://arxiv.org/abs/1803.08494. Why in
    federated learning: Hsieh et al. 2020. https://arxiv.org/abs/1910.00189

    Args:
        module: Changed in place.
        groups: Wanted number of groups, at least 1.

    Returns:
        `module`, or the GroupNorm that stands for it if it was a BatchNorm itself.

    Raises:
        ValueError: groups < 1.

    >>> norm = batch_norm_to_group_norm(nn.BatchNorm2d(6), groups=4)
    >>> norm.num_groups, norm.num_channels
    (2, 6)
    """
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _group_norm_like(module, groups)
    for name, child in module.named_children():
        setattr(module, name, batch_norm_to_group_norm(child, groups))
    return module


def _group_norm_like(norm: nn.BatchNorm1d | nn.BatchNorm2d, groups: int) -> nn.GroupNorm:
    channels = norm.num_features
    new = nn.GroupNorm(math.gcd(groups, channels), channels, norm.eps, norm.affine)
    if norm.affine:
        # The parameters themselves and not copies: device, dtype and requires_grad stay.
        new.weight, new.bias = norm.weight, norm.bias
    new.training = norm.training
    return new
