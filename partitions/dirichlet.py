"""Label skew by per-class proportions: each class is divided among the clients in Dirichlet shares.

`alpha` ranges from clients that hold one or two classes (0.1) to clients with nearly equal class
distributions (100). Client sizes vary as well. For the other Dirichlet family, with equal sizes,
see `dirichlet_prior`.
"""

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import draw_dirichlet_shares, split_proportionally
from partitions._grouping import deal
from partitions._repair import repair
from partitions._validation import check_alpha, check_arguments
from partitions.partition import Partition


def dirichlet(
    labels: ArrayLike, num_clients: int, seed: int, alpha: float = 0.1, min_size: int = 10
) -> Partition:
    """Divide every class among the clients in proportions drawn from Dirichlet(alpha).

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        alpha: Concentration over clients, positive. Small means skewed.
        min_size: Minimum size of a client, capped at n // num_clients. Smaller clients receive
            random examples of the largest.

    Returns:
        The partition; disjoint and covering 0..n-1.

    Raises:
        ValueError: alpha is not positive and finite, more clients than examples, or labels that
            are not a 1-D integer array.

    Reference: Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni. Bayesian Nonparametric
    Federated Learning of Neural Networks. 2019. https://arxiv.org/abs/1905.12022

    >>> split = dirichlet(np.repeat([0, 1], 50), num_clients=4, seed=0, alpha=0.1)
    >>> sum(len(held) for held in split), min(len(held) for held in split)
    (100, 10)
    """
    column, rng = check_arguments(labels, num_clients, seed)
    check_alpha(alpha)
    _, codes, class_sizes = np.unique(column, return_inverse=True, return_counts=True)
    shares = draw_dirichlet_shares(rng, np.full(num_clients, float(alpha)), len(class_sizes))
    # Examples are shuffled within a class, since files are often sorted within a class.
    owners = deal(codes, split_proportionally(class_sizes, shares), rng)
    return repair(owners, num_clients, min_size, rng)
