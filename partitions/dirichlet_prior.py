"""Label skew by per-client class priors: every client draws its own class prior, sizes are equal.

The prior of client i is q_i ~ Dirichlet(alpha * p) with p the class frequencies of the dataset, so
a large alpha brings all priors close to p. Libraries that use Dirichlet(alpha * 1) instead need
alpha divided by the number of classes for the same split of balanced classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions._apportion import draw_dirichlet_shares, split_evenly
from partitions._grouping import deal
from partitions._repair import repair
from partitions._validation import check_alpha, check_arguments
from partitions.partition import IntArray, Partition


def dirichlet_prior(
    labels: ArrayLike, num_clients: int, seed: int, alpha: float = 0.1, min_size: int = 10
) -> Partition:
    """Assign to every client examples drawn from its own class prior, without replacement.

    Clients draw in order. A class that is exhausted gets probability zero and the rest of the prior
    is renormalised, so the last clients receive the remaining examples.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        alpha: Concentration as in the paper: it multiplies the class frequencies. Positive.
        min_size: Minimum size of a client, capped at n // num_clients; always met by this scheme.

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
    column, rng = check_arguments(labels, num_clients, seed)
    check_alpha(alpha)
    _, codes, left = np.unique(column, return_inverse=True, return_counts=True)
    priors = draw_dirichlet_shares(rng, float(alpha) * (left / len(codes)), num_clients)
    counts = np.empty((len(left), num_clients), dtype=np.int64)
    for client, size in enumerate(split_evenly(len(codes), num_clients)):
        counts[:, client] = _draw(int(size), priors[client], left, rng)
        left = left - counts[:, client]
    return repair(deal(codes, counts, rng), num_clients, min_size, rng)


def _draw(
    size: int, prior: NDArray[np.float64], left: IntArray, rng: np.random.Generator
) -> IntArray:
    # Draws beyond the rest of a class are redrawn from the other classes. The distribution is that
    # of drawing one example at a time, with at most one iteration per exhausted class.
    taken = np.zeros_like(left)
    while (open_draws := size - taken.sum()) > 0:
        mix = np.where(taken < left, prior, 0.0)
        if mix.sum() == 0:  # The prior has mass only on exhausted classes: use the rest.
            mix = (left - taken).astype(np.float64)
        drawn = rng.multinomial(open_draws, mix / mix.sum())
        taken = np.minimum(taken + drawn, left)
    return taken
