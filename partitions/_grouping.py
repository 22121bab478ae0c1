"""Assignment of the examples of a class, or of a client, in random order and without a loop."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.partition import IntArray


def shuffle_within_groups(keys: NDArray[Any], rng: np.random.Generator) -> IntArray:
    """Return all positions grouped by increasing key, in random order within a key.

    >>> shuffle_within_groups(np.array([1, 0, 1, 0]), np.random.default_rng(0)).tolist()
    [1, 3, 2, 0]
    """
    shuffled = rng.permutation(len(keys))
    return shuffled[np.argsort(keys[shuffled], kind="stable")]


def deal(codes: IntArray, counts: IntArray, rng: np.random.Generator) -> IntArray:
    """Assign to every client a random choice of its number of examples of every class.

    Args:
        codes: Class of each example as 0..C-1, [n].
        counts: Examples of class c for client i, [C, K]. Rows sum to the sizes of the classes.
        rng: Generator of the shuffle within a class.

    Returns:
        The client of each example, [n].
    """
    num_classes, num_clients = counts.shape
    owners = np.empty(len(codes), dtype=np.int64)
    clients = np.tile(np.arange(num_clients), num_classes)
    owners[shuffle_within_groups(codes, rng)] = np.repeat(clients, counts.ravel())
    return owners
