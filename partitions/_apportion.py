"""Conversion of shares to whole numbers of examples with an exact total.

Rounding each share by itself would lose or invent examples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions.partition import IntArray


def split_evenly(total: int, parts: int) -> IntArray:
    """Return `parts` whole numbers that sum to `total` and differ by at most one, largest first.

    >>> split_evenly(7, 3).tolist()
    [3, 2, 2]
    """
    return total // parts + (np.arange(parts) < total % parts).astype(np.int64)


def split_proportionally(totals: ArrayLike, shares: NDArray[np.float64]) -> IntArray:
    """Split each total by the shares along the last axis, cutting at their cumulative sum.

    >>> split_proportionally(10, np.array([0.25, 0.5, 0.25])).tolist()
    [2, 6, 2]
    """
    running = np.cumsum(shares, axis=-1)
    cuts = np.rint(running / running[..., -1:] * np.asarray(totals)[..., None])
    return np.diff(cuts, axis=-1, prepend=0).astype(np.int64)


def level_down(caps: IntArray, total: int) -> IntArray:
    """Return the most even whole numbers that stay below `caps` and sum to `total`.

    The largest entries are lowered to one common level; `total` must not exceed the sum of caps.

    >>> level_down(np.array([9, 1, 5]), 10).tolist()
    [5, 1, 4]
    """
    low, high = 0, int(caps.max())
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(caps, middle).sum() <= total:
            low = middle
        else:
            high = middle - 1
    levelled = np.minimum(caps, low)
    levelled[np.flatnonzero(caps > low)[: total - levelled.sum()]] += 1
    return levelled


def draw_dirichlet_shares(
    rng: np.random.Generator, concentrations: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    """Draw `rows` Dirichlet vectors, [rows, len(concentrations)], for any positive parameters."""
    # Outside this range numpy underflows or overflows to all-zero shares. Within it the law is
    # already at its limits: one share of 1, or equal shares.
    return rng.dirichlet(np.clip(concentrations, 1e-100, 1e15), size=rows)
