"""The work of clients that differ in size or steps, padded to one shape."""

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import Work
from fedlocal.clients import IntArray
from fedlocal.runtime.runtime import Plan, everything
from fedlocal.trees import tree_map


def padded(plan: Plan, rows: IntArray, like: Tensor) -> Work:
    """The work of these rows of a plan as one tree; steps come before clients.

    Args:
        plan: The cohort's work.
        rows: Who of it, [G].
        like: Gives dtype and device.
    """
    steps = plan.steps[rows]
    rates = np.ascontiguousarray(plan.rates[rows, : steps.max()].T)
    widths = np.array([plan.indices[row].shape[1] for row in rows])
    picked = slice(None) if whole(rows, len(plan.clients)) else torch.from_numpy(rows)
    return Work(
        indices=_aligned([plan.indices[row] for row in rows], like),
        mask=_real(widths, like),
        active=tree_map(lambda real: real.T.contiguous(), _real(steps, like)),
        rates=torch.tensor(rates, dtype=like.dtype).to(like.device),
        noise=plan.noise[picked],
        everything=everything([plan.everything[row] for row in rows], like)
        if plan.everything
        else (),
        draws=_aligned([plan.draws[row] for row in rows], like) if plan.draws else (),
    )


def whole(rows: IntArray, count: int) -> bool:
    """Whether these are all of so many rows, in order: a slice, where a gather would copy them."""
    return np.array_equal(rows, np.arange(count))


def _aligned(arrays: list[IntArray], like: Tensor) -> Tensor:
    """Arrays [steps_i, b_i, ...] of G clients as [max steps, G, max b, ...], padded with zeros."""
    steps, widths = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    together = np.zeros((steps, len(arrays), widths, *arrays[0].shape[2:]), dtype=np.int64)
    for row, own in enumerate(arrays):
        together[: own.shape[0], row, : own.shape[1]] = own
    return torch.from_numpy(together).to(like.device)


def _real(lengths: IntArray, like: Tensor) -> Tensor | tuple[()]:
    """[G, max length] telling real entries from padding; () where nothing is padded."""
    longest = lengths.max()
    if (lengths == longest).all():
        return ()
    return torch.from_numpy(np.arange(longest) < lengths[:, None]).to(like.device)
