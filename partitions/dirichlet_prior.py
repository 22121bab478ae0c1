"""Label skew by per-client class mixes: every client draws its own class prior, sizes are equal.

The prior of client i is q_i ~ Dirichlet(alpha * p) with p the class frequencies of the dataset, so
alpha weighs how closely clients follow the whole. Libraries that use Dirichlet(alpha * 1) instead
need alpha divided by the number of classes for the same split of balanced classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions._apportion import dirichlet_shares, evenly
from partitions._grouping import deal
from partitions._repair import repaired
from partitions._validation import check_alpha, checked
from partitions.partition import IntArray, Partition


def dirichlet_prior(
    labels: ArrayLike, num_clients: int, seed: int, alpha: float = 0.1, min_size: int = 10
) -> Partition:
    """Let every client draw examples by its own class prior, without replacement.

    Clients draw in order. A class that is exhausted gets probability zero and the rest of the prior
    is renormalised, so the last clients take what is left.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        alpha: Concentration as in the paper: it multiplies the class frequencies. Positive.
        min_size: Smallest client, capped at n // num_clients; always met by this scheme.

    Returns:
        The partition; sizes differ by at most one.

    Raises:
        ValueError: alpha is not positive and finite, more clients than examples, or labels that
            are not a 1-D integer array.

    Reference: Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification. 2019. https://arxiv.org/abs/1909.06335

    >>> dirichlet_prior(np.repeat([0, 1], 50), num_clients=4, seed=0, alpha=0.1)
    Partition(4 clients, sizes 25 to 25)
    """
    column, rng = checked(labels, num_clients, seed)
    check_alpha(alpha)
    _, codes, left = np.unique(column, return_inverse=True, return_counts=True)
    priors = dirichlet_shares(rng, float(alpha) * (left / len(codes)), num_clients)
    counts = np.empty((len(left), num_clients), dtype=np.int64)
    for client, size in enumerate(evenly(len(codes), num_clients)):
        counts[:, client] = _draw(int(size), priors[client], left, rng)
        left = left - counts[:, client]
    return repaired(deal(codes, counts, rng), num_clients, min_size, rng)


def _draw(
    size: int, prior: NDArray[np.float64], left: IntArray, rng: np.random.Generator
) -> IntArray:
    # Draws beyond what a class has left are redrawn from the other classes: the same law as one
    # example at a time, with at most one turn of the loop for each class that runs out.
    taken = np.zeros_like(left)
    while (open_draws := size - taken.sum()) > 0:
        mix = np.where(taken < left, prior, 0.0)
        if mix.sum() == 0:  # The whole prior lies on exhausted classes: follow what is left.
            mix = (left - taken).astype(np.float64)
        drawn = rng.multinomial(open_draws, mix / mix.sum())
        taken = np.minimum(taken + drawn, left)
    return taken
