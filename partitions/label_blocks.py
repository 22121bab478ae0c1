"""Label skew by class-sorted blocks: sort by class and cut into contiguous blocks of equal size.

This is the most skewed split with equal sizes. With as many clients as balanced classes every
client holds exactly one class.
"""

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import split_evenly
from partitions._repair import repair
from partitions._validation import check_arguments
from partitions.partition import Partition


def label_blocks(labels: ArrayLike, num_clients: int, seed: int, min_size: int = 10) -> Partition:
    """Give client i the i-th block of the class-sorted data.

    Args:
        labels: Class of each example, [n]. Examples of a class keep their order.
        num_clients: Number of clients.
        seed: Not used; the labels determine the split.
        min_size: Minimum size of a client, capped at n // num_clients; always met by this scheme.

    Returns:
        The partition; sizes differ by at most one.

    Raises:
        ValueError: More clients than examples, or labels that are not a 1-D integer array.

    Reference: Liang, Shen, Liu, Pan, Chen, Cheng. Variance Reduced Local SGD with Lower
    Communication Complexity. 2019. https://arxiv.org/abs/1912.12844

    >>> [held.tolist() for held in label_blocks([1, 0, 1, 0, 0], num_clients=2, seed=0)]
    [[1, 3, 4], [0, 2]]
    """
    column, rng = check_arguments(labels, num_clients, seed)
    owners = np.empty(len(column), dtype=np.int64)
    blocks = np.repeat(np.arange(num_clients), split_evenly(len(column), num_clients))
    owners[np.argsort(column, kind="stable")] = blocks
    return repair(owners, num_clients, min_size, rng)
