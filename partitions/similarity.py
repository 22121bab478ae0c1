"""A mixture of IID and sorted: a fraction of every client's data is IID, the rest class-sorted.

At 0 this is `label_blocks`, at 1 it is `iid`; in between heterogeneity decreases linearly.
"""

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import split_evenly
from partitions._repair import repair
from partitions._validation import check_arguments
from partitions.partition import Partition


def similarity(
    labels: ArrayLike, num_clients: int, seed: int, similarity: float = 0.1, min_size: int = 10
) -> Partition:
    """Divide a random fraction of the data evenly, and the rest, sorted by class, into blocks.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        similarity: Fraction of IID data, 0 to 1. The paper's s percent divided by 100.
        min_size: Minimum size of a client, capped at n // num_clients; always met by this scheme.

    Returns:
        The partition; sizes differ by at most one.

    Raises:
        ValueError: similarity outside [0, 1], more clients than examples, or labels that are not a
            1-D integer array.

    Reference: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh. SCAFFOLD: Stochastic Controlled
    Averaging for Federated Learning. 2020. https://arxiv.org/abs/1910.06378

    >>> [held.tolist() for held in similarity([1, 0, 1, 0], 2, seed=0, similarity=0.0)]
    [[1, 3], [0, 2]]
    """
    column, rng = check_arguments(labels, num_clients, seed)
    if not 0 <= similarity <= 1:
        raise ValueError(
            f"similarity must be a fraction in [0, 1], got {similarity}; divide a percentage by 100"
        )
    num_shared = round(similarity * len(column))
    shuffled = rng.permutation(len(column))
    rest = np.sort(shuffled[num_shared:])
    by_class = rest[np.argsort(column[rest], kind="stable")]
    shared_sizes = split_evenly(num_shared, num_clients)
    block_sizes = split_evenly(len(column), num_clients) - shared_sizes
    owners = np.empty(len(column), dtype=np.int64)
    owners[shuffled[:num_shared]] = np.repeat(np.arange(num_clients), shared_sizes)
    owners[by_class] = np.repeat(np.arange(num_clients), block_sizes)
    return repair(owners, num_clients, min_size, rng)
