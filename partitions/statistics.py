"""Statistics of a partition: heterogeneity, sizes and redundancy.

They are reported for every run, since one alpha gives very different splits on different datasets.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions.partition import IntArray, Partition

# Examples per matrix product; counts of that size are exact in float32, which is fast.
_BLOCK = 8192


def sizes(partition: Partition) -> IntArray:
    """Return the number of examples of each client, [K].

    >>> sizes(Partition([[0, 2], [1, 3, 4]])).tolist()
    [2, 3]
    """
    return np.array([len(held) for held in partition], dtype=np.int64)


def label_histogram(partition: Partition, labels: ArrayLike) -> IntArray:
    """Return the number of examples of each class at each client, [K, C].

    Args:
        partition: Examples of each client.
        labels: Class of each example, [n]. Columns are its distinct values in increasing order.

    Raises:
        ValueError: The partition refers to examples beyond the labels.

    >>> label_histogram(Partition([[0, 2], [1, 3]]), [5, 5, 7, 7]).tolist()
    [[1, 1], [1, 1]]
    """
    values, codes = np.unique(np.asarray(labels), return_inverse=True)
    if _extent(partition) > len(codes):
        raise ValueError(
            f"the partition needs at least {_extent(partition)} labels, got {len(codes)}; "
            "pass the labels it was made from"
        )
    return np.array([np.bincount(codes[held], minlength=len(values)) for held in partition])


def earth_movers_distance(partition: Partition, labels: ArrayLike) -> NDArray[np.float64]:
    """Return sum_y |p_i(y) - p(y)| for each client i, [K].

    p is the class distribution of all labels. 0 means the same distribution, 2 is never
    reached; a client without examples gets nan.

    Reference: Zhao, Li, Lai, Suda, Civin, Chandra. Federated Learning with Non-IID Data. 2018.
    https://arxiv.org/abs/1806.00582

    >>> earth_movers_distance(Partition([[0, 1], [2, 3]]), [0, 0, 1, 1]).tolist()
    [1.0, 1.0]
    """
    counts = label_histogram(partition, labels)
    _, overall = np.unique(np.asarray(labels), return_counts=True)
    totals = counts.sum(axis=1, keepdims=True)
    distances = np.abs(counts / np.maximum(totals, 1) - overall / overall.sum()).sum(axis=1)
    return np.where(totals[:, 0] > 0, distances, np.nan)


def overlap_matrix(partition: Partition) -> IntArray:
    """Return the number of examples shared by each pair of clients, [K, K]; sizes on the diagonal.

    >>> overlap_matrix(Partition([[0, 1, 2], [2, 3]])).tolist()
    [[3, 1], [1, 2]]
    """
    # Only examples with several holders matter; without overlap there are none.
    holders = multiplicity(partition)
    several = holders > 1
    holders = holders[several]
    place = np.cumsum(several) - 1
    shared = [place[held[several[held]]] for held in partition]
    # Counting one pair costs about as much as 500 multiplications of the product.
    few = len(holders) > 0 and holders.mean() * holders.max() * 500 < len(partition) ** 2
    overlap = _count_by_pairs(shared, holders) if few else _count_by_product(shared, len(holders))
    np.fill_diagonal(overlap, sizes(partition))
    return overlap


def _count_by_product(shared: list[IntArray], count: int) -> IntArray:
    """Count the shared positions of each pair of clients by a product of indicators, [K, K]."""
    overlap = np.zeros((len(shared), len(shared)), dtype=np.int64)
    for start in range(0, count, _BLOCK):
        block = np.zeros((len(shared), _BLOCK), dtype=np.float32)
        for row, places in zip(block, shared, strict=True):
            low, high = np.searchsorted(places, [start, start + _BLOCK])
            row[places[low:high] - start] = 1
        overlap += (block @ block.T).astype(np.int64)
    return overlap


def _count_by_pairs(shared: list[IntArray], holders: IntArray) -> IntArray:
    """Count the shared positions pair by pair, [K, K]; fast if few clients share a position."""
    num_clients = len(shared)
    ends = np.cumsum(holders)
    # The holders of each position, in order of positions.
    owner, free = np.empty(holders.sum(), dtype=np.int64), ends - holders
    for client, places in enumerate(shared):
        owner[free[places]] = client
        free[places] += 1
    left = np.repeat(ends, holders) - np.arange(len(owner))
    overlap = np.zeros(num_clients**2, dtype=np.int64)
    for apart in range(1, holders.max()):
        # Holders with another holder of the same position `apart` entries later.
        first = np.flatnonzero(left > apart)
        pairs = owner[first] * num_clients + owner[first + apart]
        overlap += np.bincount(pairs, minlength=num_clients**2)
    upper = overlap.reshape(num_clients, num_clients)
    return upper + upper.T


def multiplicity(partition: Partition) -> IntArray:
    """Return the number of clients that hold each example, up to the last example held.

    >>> multiplicity(Partition([[0, 1, 2], [2, 3]])).tolist()
    [1, 1, 2, 1]
    """
    holders = np.zeros(_extent(partition), dtype=np.int64)
    for held in partition:
        holders[held] += 1
    return holders


def credit(partition: Partition) -> NDArray[np.float64]:
    """Return each client's weight by example count, [K], with shared examples counted once.

    Every example counts one in total, divided equally among its holders. Without overlap these are
    the sizes; they always sum to the number of distinct examples.

    >>> credit(Partition([[0, 1, 2], [2, 3]])).tolist()
    [2.5, 1.5]
    """
    parts = 1.0 / np.maximum(multiplicity(partition), 1)
    return np.array([parts[held].sum() for held in partition])


def _extent(partition: Partition) -> int:
    return 1 + max((int(held[-1]) for held in partition if held.size), default=-1)
