"""Work of a group of clients as one tree, padded where clients differ in size or steps.

`Objective` computes the loss of a padded batch with the mask that is made here.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective.gradients import Everything
from fedlocal.rounds.client import PaddedWork
from fedlocal.rounds.runtime_interface import CohortWork, everything, shared_steps
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import tree_map


def pad_work(
    plan: CohortWork, rows: IntArray, like: Tensor, pads: Callable[[], bool]
) -> PaddedWork:
    """Return the work of these rows of a plan as one tree; steps come before clients.

    Args:
        plan: Work of the cohort.
        rows: Rows of the group, [G].
        like: Tensor with the dtype and device of the run.
        pads: Whether batches may be cut and padded; called only where it matters.
    """
    steps = plan.steps[rows]
    rates = np.ascontiguousarray(plan.rates[rows, : steps.max()].T)
    widths = np.array([plan.indices[row].shape[1] for row in rows])
    picked = slice(None) if whole(rows, len(plan.clients)) else torch.from_numpy(rows)
    return PaddedWork(
        indices=_aligned([plan.indices[row] for row in rows], like),
        mask=_real(widths, like),
        active=tree_map(lambda real: real.T.contiguous(), _real(steps, like)),
        rates=torch.tensor(rates, dtype=like.dtype).to(like.device),
        noise=plan.noise[picked],
        everything=_everything(plan, rows, like, pads) if plan.everything else (),
        draws=_aligned([plan.draws[row] for row in rows], like) if plan.draws else (),
        keys=_keys(plan, rows, like) if plan.keys.size else (),
        shared=_shared(plan, rows, like) if plan.personal_steps else (),
    )


def same_shapes(plan: CohortWork) -> list[IntArray]:
    """Return groups of rows of a plan whose batches need no padding.

    Rows of a group have one batch width and, where all examples are read, equally many examples.
    """
    widths = [[own.shape[1] for own in plan.indices]]
    if plan.everything:
        widths.append([len(own) for own in plan.everything])
    return equal_rows(np.array(widths).T)


def equal_rows(values: IntArray) -> list[IntArray]:
    """Return the indices of the rows of [S, n] in groups of equal rows."""
    # Most runs have one group, and sorting takes a tenth of a millisecond.
    if (values == values[0]).all():
        return [np.arange(len(values))]
    _, which = np.unique(values, axis=0, return_inverse=True)
    return [np.flatnonzero(which.reshape(-1) == group) for group in range(which.max() + 1)]


def _everything(
    plan: CohortWork, rows: IntArray, like: Tensor, pads: Callable[[], bool]
) -> Everything:
    keys = plan.full_keys[rows] if plan.full_keys.size else plan.full_keys
    return everything([plan.everything[row] for row in rows], keys, like, pads)


def _keys(plan: CohortWork, rows: IntArray, like: Tensor) -> Tensor:
    longest = plan.steps[rows].max()
    return torch.from_numpy(np.ascontiguousarray(plan.keys[rows, :longest].T)).to(like.device)


def _shared(plan: CohortWork, rows: IntArray, like: Tensor) -> Tensor:
    """Return a mask of the steps that train the shared parameters, [max steps, G]."""
    return shared_steps(plan, int(plan.steps[rows].max()), like).repeat(len(rows), 1).T.contiguous()


def whole(rows: IntArray, count: int) -> bool:
    """Return whether `rows` is 0..count - 1, so that a slice replaces a copy by index."""
    return np.array_equal(rows, np.arange(count))


def _aligned(arrays: list[IntArray], like: Tensor) -> Tensor:
    """Stack arrays [steps_i, b_i, ...] of G clients, zero-padded, [max steps, G, max b, ...]."""
    steps, widths = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    together = np.zeros((steps, len(arrays), widths, *arrays[0].shape[2:]), dtype=np.int64)
    for row, own in enumerate(arrays):
        together[: own.shape[0], row, : own.shape[1]] = own
    return torch.from_numpy(together).to(like.device)


def _real(lengths: IntArray, like: Tensor) -> Tensor | tuple[()]:
    """Return a mask [G, max length] of the real entries; () where nothing is padded."""
    longest = lengths.max()
    if (lengths == longest).all():
        return ()
    return torch.from_numpy(np.arange(longest) < lengths[:, None]).to(like.device)
