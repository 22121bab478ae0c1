"""Cutting a test set off a dataset that has none."""

import math

import numpy as np
from numpy.typing import NDArray

from fedlocal.utils.arrays import IntArray


def stratified_split(
    labels: NDArray[np.integer], test_fraction: float, seed: int
) -> tuple[IntArray, IntArray]:
    """Split 0..n-1 so that the classes are as frequent in the test set as in the train set.

    The test set has ceil(test_fraction * n) examples; classes share it by largest remainder.

    Args:
        labels: Class of each example, [n].
        test_fraction: Share of the examples to test on, 0 <= test_fraction < 1.
        seed: Same seed, same split.

    Returns:
        Sorted train indices and sorted test indices. Disjoint, and together they cover 0..n-1.

    Raises:
        ValueError: test_fraction out of range.

    >>> train, test = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    >>> len(train), np.bincount(np.array([0, 0, 0, 0, 1, 1, 1, 1])[test]).tolist()
    (6, [1, 1])
    """
    check_test_fraction(test_fraction)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = counts * (math.ceil(test_fraction * len(labels)) / max(len(labels), 1))
    num_test = np.floor(share).astype(np.int64)
    missing = math.ceil(test_fraction * len(labels)) - int(num_test.sum())
    # Stable, so that ties go to the lower class on every machine.
    num_test[np.argsort(num_test - share, kind="stable")[:missing]] += 1
    rng = np.random.default_rng(seed)
    test = [rng.permutation(np.flatnonzero(codes == c))[:m] for c, m in enumerate(num_test)]
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.concatenate([np.empty(0, dtype=np.int64), *test])] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def check_test_fraction(test_fraction: float) -> None:
    """Raise ValueError unless 0 <= test_fraction < 1."""
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be in [0, 1), got {test_fraction}; 0 = no test set")
