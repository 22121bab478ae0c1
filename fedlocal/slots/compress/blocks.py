"""Elementwise functions of long vectors on a CPU: block by block.

A formula of ten operations on a long vector writes ten long vectors to fresh memory, and a page
of fresh memory costs more than copying it. On blocks that fit a core's cache the same operations
give the same bits, and only the result is long.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedlocal.utils.threads import in_threads

# Scalars. Torch starts no threads for that few: they would wait for each other at every operation.
BLOCK = 1 << 15
LONG = 1 << 17


def is_long(v: Tensor) -> bool:
    """Whether v [P] is worth a way of its own: beyond the cache of a core, and not on a GPU."""
    return v.device.type == "cpu" and v.shape[0] > LONG


def in_blocks(each: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`each(*tensors)`, [P], for an elementwise function of vectors [P] and scalars [1].

    The first of the tensors is a vector.

    >>> in_blocks(torch.mul, torch.tensor([1.0, 2.0]), torch.tensor([3.0]))
    tensor([3., 6.])
    """
    return _InBlocks.apply(each, *tensors) if is_long(tensors[0]) else each(*tensors)  # type: ignore[return-value]


class _InBlocks(torch.autograd.Function):
    """Leaves `torch.vmap`: a batch of vectors is only more blocks."""

    @staticmethod
    def forward(each: Callable[..., Tensor], *tensors: Tensor) -> Tensor:  # type: ignore[override]
        lead = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors))
        rows = [t.expand(*lead, -1).reshape(-1, t.shape[-1]) for t in tensors]
        like = each(*(t[0, :1] for t in rows))
        out = like.new_empty(rows[0].shape)
        jobs = [job for parts in zip(out, *rows, strict=True) for job in _blocks(*parts)]
        in_threads(lambda job: job[0].copy_(each(*job[1:])), jobs, out.numel())  # type: ignore[arg-type]
        return out.reshape(*lead, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing here has a gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, each: Callable[..., Tensor], *tensors: Tensor):  # type: ignore[override]
        pairs = zip(tensors, in_dims[1:], strict=True)
        rows = [t.unsqueeze(0) if d is None else t.movedim(d, 0) for t, d in pairs]
        return _InBlocks.apply(each, *rows), 0


def _blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """The blocks of vectors [P], each beside the scalars [1]."""
    count = -(-tensors[0].shape[0] // BLOCK)
    parts = ([t] * count if t.shape[0] == 1 else t.split(BLOCK) for t in tensors)
    return list(zip(*parts, strict=True))
