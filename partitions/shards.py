"""Pathological label skew: sort by class, cut into shards, give every client a few of them.

With two shards a client holds at most two intervals of the sorted data, hence about two classes.
"""

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import split_evenly
from partitions._repair import repair
from partitions._validation import check_arguments, check_at_least
from partitions.partition import Partition


def shards(
    labels: ArrayLike, num_clients: int, seed: int, shards_per_client: int = 2, min_size: int = 10
) -> Partition:
    """Assign random shards of the class-sorted data, the same number to every client.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        shards_per_client: Number of shards of each client.
        min_size: Minimum size of a client, capped at n // num_clients; always met by this scheme.

    Returns:
        The partition; sizes of shards, and of clients, differ by at most one.

    Raises:
        ValueError: shards_per_client < 1, more clients, or shards of a client, than examples, or
            labels that are not a 1-D integer array.

    Reference: McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-Efficient Learning of
    Deep Networks from Decentralized Data. 2017. https://arxiv.org/abs/1602.05629

    >>> [held.tolist() for held in shards(np.arange(10), num_clients=2, seed=0)]
    [[3, 4, 5, 6, 7], [0, 1, 2, 8, 9]]
    """
    column, rng = check_arguments(labels, num_clients, seed)
    check_at_least("shards_per_client", shards_per_client, 1)
    # The default of two is valid even for a single example.
    if shards_per_client > max(2, len(column)):
        raise ValueError(
            f"shards_per_client must be at most the number of examples, got {shards_per_client}"
            f" shards for each client and {len(column)} examples in all; use 2, as in the paper"
        )
    client_sizes = split_evenly(len(column), num_clients)
    # Cutting each client's size, not n, into shards spreads the remainder evenly over clients.
    sizes = np.stack([split_evenly(int(size), shards_per_client) for size in client_sizes])
    order = rng.permutation(sizes.size)
    owners = np.empty(len(column), dtype=np.int64)
    owners[np.argsort(column, kind="stable")] = np.repeat(
        order // shards_per_client, sizes.ravel()[order]
    )
    return repair(owners, num_clients, min_size, rng)
