"""Blockwise evaluation of elementwise functions of long vectors on a CPU.

A formula of ten operations on a long vector writes ten long vectors to newly allocated memory,
whose page faults cost more than a copy. On blocks that fit a core's cache the same operations give
the same bits, and only the result is a long vector.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedlocal.utils.threads import run_in_threads

# In scalars. For blocks this small torch starts no threads, which would synchronise per operation.
BLOCK = 1 << 15
LONG = 1 << 17


def is_long(v: Tensor) -> bool:
    """Return whether v [P] is on a CPU and exceeds the cache of a core."""
    return v.device.type == "cpu" and v.shape[0] > LONG


def apply_in_blocks(each: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Compute `each(*tensors)`, [P], for an elementwise function of vectors [P] and scalars [1].

    The first tensor must be a vector.

    >>> apply_in_blocks(torch.mul, torch.tensor([1.0, 2.0]), torch.tensor([3.0]))
    tensor([3., 6.])
    """
    return _InBlocks.apply(each, *tensors) if is_long(tensors[0]) else each(*tensors)  # type: ignore[return-value]


class _InBlocks(torch.autograd.Function):
    """Autograd function that handles `torch.vmap` itself: a batch of vectors is more blocks."""

    @staticmethod
    def forward(each: Callable[..., Tensor], *tensors: Tensor) -> Tensor:  # type: ignore[override]
        lead = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors))
        rows = [t.expand(*lead, -1).reshape(-1, t.shape[-1]) for t in tensors]
        like = each(*(t[0, :1] for t in rows))
        out = like.new_empty(rows[0].shape)
        jobs = [job for parts in zip(out, *rows, strict=True) for job in _blocks(*parts)]
        run_in_threads(lambda job: job[0].copy_(each(*job[1:])), jobs, out.numel())  # type: ignore[arg-type]
        return out.reshape(*lead, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Do nothing: there is no gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, each: Callable[..., Tensor], *tensors: Tensor):  # type: ignore[override]
        pairs = zip(tensors, in_dims[1:], strict=True)
        rows = [t.unsqueeze(0) if d is None else t.movedim(d, 0) for t, d in pairs]
        return _InBlocks.apply(each, *rows), 0


def _blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the blocks of vectors [P], each with the scalars [1]."""
    count = -(-tensors[0].shape[0] // BLOCK)
    parts = ([t] * count if t.shape[0] == 1 else t.split(BLOCK) for t in tensors)
    return list(zip(*parts, strict=True))
