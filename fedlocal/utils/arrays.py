"""Array types of annotations, and membership of ids."""

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def isin(ids: IntArray, these: IntArray) -> NDArray[np.bool_]:
    """Return for each of the ids whether it is one of `these`; fast where both are the same.

    >>> isin(np.array([1, 2, 3]), np.array([3, 1])).tolist()
    [True, False, True]
    """
    # Mostly all are, and `np.isin` sorts.
    return np.ones(len(ids), bool) if np.array_equal(ids, these) else np.isin(ids, these)
