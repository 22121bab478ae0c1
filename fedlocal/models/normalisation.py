"""Replacement of batch normalisation by group normalisation.

The average of running means and variances of clients with different data fits none of them, and
strategies whose clients keep their own models cannot average them. A model with GroupNorm has no
buffers and runs under every strategy.
"""

import math
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def batch_norm_to_group_norm(module: Module, groups: int = 2) -> Module | nn.GroupNorm:
    """Replace every BatchNorm1d and BatchNorm2d, at any depth, by a GroupNorm.

    Scale and shift keep their values. A layer gets gcd(groups, channels) groups.

    Sources: Wu and He. Group Normalization. 2018. https://arxiv.org/abs/1803.08494. For federated
    learning: Hsieh et al. 2020. https://arxiv.org/abs/1910.00189

    Args:
        module: Model, changed in place.
        groups: Desired number of groups, at least 1.

    Returns:
        `module`, or its replacement if it is a BatchNorm itself.

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
        # The same parameters and not copies, which keeps device, dtype and requires_grad.
        new.weight, new.bias = norm.weight, norm.bias
    new.training = norm.training
    return new
