"""Selection of the k largest of a long vector on a CPU, without sorting the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.compress.blockwise import BLOCK
from fedlocal.utils.threads import run_in_threads

Key = Callable[[Tensor], Tensor]


def largest(key: Key, v: Tensor, k: int) -> Tensor:
    """Return the positions of the k largest of key(v), [P], in descending order, [k].

    `key` is elementwise. Ties are in order of position; NaN is larger than all numbers.

    >>> largest(torch.abs, torch.tensor([1.0, -3.0, 0.0, 3.0]), 3)
    tensor([1, 3, 0])
    """
    return _Largest.apply(key, v, k)  # type: ignore[return-value]


class _Largest(torch.autograd.Function):
    """Autograd function that handles `torch.vmap` itself: the number of candidates varies."""

    @staticmethod
    def forward(key: Key, v: Tensor, k: int) -> Tensor:  # type: ignore[override]
        rows = v.reshape(-1, v.shape[-1])
        out = v.new_empty((len(rows), k), dtype=torch.int64)

        def work(row: int) -> None:
            out[row] = torch.from_numpy(_select(key, rows[row], k))

        run_in_threads(work, range(len(rows)), v.numel())
        return out.reshape(*v.shape[:-1], k)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Do nothing: positions have no gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, key: Key, v: Tensor, k: int):  # type: ignore[override]
        return _Largest.apply(key, v.movedim(in_dims[1], 0), k), 0


def _select(key: Key, row: Tensor, k: int) -> NDArray[np.int64]:
    size = row.shape[0]
    # Enough groups for k, and so small that few contain two of the largest.
    group = max(1, min(16, size // (2 * k)))
    width = size // group
    maxima = _maxima(key, row[: group * width].view(group, width))
    # At least k scalars reach the k-th largest group maximum, all of them in these groups.
    bound = np.partition(maxima, width - k)[width - k]
    # Not >=, which would drop NaN.
    columns = np.flatnonzero(~(maxima < bound))
    members = (np.arange(group)[:, None] * width + columns).reshape(-1)
    where = np.concatenate([members, np.arange(group * width, size)])
    values = key(row[torch.from_numpy(where)]).numpy()
    # Reversed twice: a stable sort in descending order.
    where = where[~(values < bound)][::-1]
    values = values[~(values < bound)][::-1]
    return where[np.argsort(values, kind="stable")[::-1][:k]]


def _maxima(key: Key, table: Tensor) -> NDArray[Any]:
    """Return the largest key of each column, [width]."""
    parts = table.split(max(1, BLOCK // len(table)), dim=1)
    return np.concatenate([key(part).amax(0).numpy() for part in parts])
