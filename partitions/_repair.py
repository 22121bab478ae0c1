"""Repair of partitions with clients below a minimum size.

Redrawing until every client is large enough changes the distribution of the split and may never
end. Moving a few examples always succeeds, and changes nothing where no client is too small.
"""

import numpy as np

from partitions._apportion import level_down
from partitions._grouping import shuffle_within_groups
from partitions._validation import check_at_least
from partitions.partition import IntArray, Partition


def repair(
    owners: IntArray, num_clients: int, min_size: int, rng: np.random.Generator
) -> Partition:
    """Return a partition in which every client holds at least `min_size` examples.

    Clients below `min_size` receive random examples of the largest clients, which shrink to one
    common size. No example moves if no client is below it.

    Args:
        owners: Client of each example, [n].
        num_clients: Number of clients.
        min_size: Minimum size of a client, capped at n // num_clients.
        rng: Generator that chooses the examples.

    Returns:
        The partition; disjoint and covering 0..n-1.

    Raises:
        ValueError: min_size is not a non-negative integer.

    >>> repair(np.zeros(9, dtype=np.int64), 2, 3, np.random.default_rng(0))
    Partition(2 clients, sizes 3 to 6)
    """
    check_at_least("min_size", min_size, 0)
    sizes = np.bincount(owners, minlength=num_clients)
    missing = np.maximum(min(min_size, len(owners) // num_clients) - sizes, 0)
    kept = level_down(sizes, len(owners) - missing.sum())
    rank = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = shuffle_within_groups(owners, rng)[rank >= np.repeat(kept, sizes)]
    owners = owners.copy()
    owners[rng.permutation(moved)] = np.repeat(np.arange(num_clients), missing)
    return Partition.from_owners(owners, num_clients)
