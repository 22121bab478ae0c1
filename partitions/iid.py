"""Independent and identically distributed clients: the baseline without heterogeneity.

Every client holds a uniformly random subset of the data, so clients differ only by sampling.
"""

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import split_evenly
from partitions._repair import repair
from partitions._validation import check_arguments
from partitions.partition import Partition


def iid(labels: ArrayLike, num_clients: int, seed: int, min_size: int = 10) -> Partition:
    """Divide shuffled examples evenly.

    Args:
        labels: Class of each example, [n]; only its length matters.
        num_clients: Number of clients.
        seed: Same seed, same split.
        min_size: Minimum size of a client, capped at n // num_clients; always met by this scheme.

    Returns:
        The partition; sizes differ by at most one.

    Raises:
        ValueError: More clients than examples, or labels that are not a 1-D integer array.

    Reference: McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-Efficient Learning of
    Deep Networks from Decentralized Data. 2017. https://arxiv.org/abs/1602.05629

    >>> iid([0, 0, 0, 1, 1, 1, 1], num_clients=2, seed=0)
    Partition(2 clients, sizes 3 to 4)
    """
    column, rng = check_arguments(labels, num_clients, seed)
    owners = np.empty(len(column), dtype=np.int64)
    sizes = split_evenly(len(column), num_clients)
    owners[rng.permutation(len(column))] = np.repeat(np.arange(num_clients), sizes)
    return repair(owners, num_clients, min_size, rng)
