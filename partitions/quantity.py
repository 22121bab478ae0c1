"""Quantity skew: clients have the same class distribution but different numbers of examples."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions._apportion import draw_dirichlet_shares, split_proportionally
from partitions._repair import repair
from partitions._validation import check_alpha, check_arguments
from partitions.partition import Partition


def quantity(
    labels: ArrayLike,
    num_clients: int,
    seed: int,
    law: str = "dirichlet",
    alpha: float = 0.5,
    sigma: float = 1.0,
    min_size: int = 10,
) -> Partition:
    """Divide shuffled examples in shares drawn from a skewed distribution.

    Args:
        labels: Class of each example, [n]; only its length matters.
        num_clients: Number of clients.
        seed: Same seed, same split.
        law: Distribution of the shares, "dirichlet" or "lognormal".
        alpha: Concentration of the Dirichlet distribution, positive. Small means skewed.
        sigma: Standard deviation of the logarithm of a size, not negative. Large means skewed.
        min_size: Minimum size of a client, capped at n // num_clients. Smaller clients receive
            random examples of the largest.

    Returns:
        The partition; disjoint and covering 0..n-1.

    Raises:
        ValueError: An unknown law or a parameter outside its range, more clients than examples, or
            labels that are not a 1-D integer array.

    Reference: Li, Diao, Chen, He. Federated Learning on Non-IID Data Silos: An Experimental Study.
    2021. https://arxiv.org/abs/2102.02079 (Dirichlet). Zeng, Liang, Hu, Wang, Xu. FedLab: A
    Flexible Federated Learning Framework. 2021. https://arxiv.org/abs/2107.11621 (lognormal).

    >>> quantity(np.zeros(100, dtype=int), num_clients=4, seed=0, law="lognormal", sigma=0.0)
    Partition(4 clients, sizes 25 to 25)
    """
    column, rng = check_arguments(labels, num_clients, seed)
    shares = _shares(law, alpha, sigma, num_clients, rng)
    owners = np.empty(len(column), dtype=np.int64)
    sizes = split_proportionally(len(column), shares)
    owners[rng.permutation(len(column))] = np.repeat(np.arange(num_clients), sizes)
    return repair(owners, num_clients, min_size, rng)


def _shares(
    law: str, alpha: float, sigma: float, num_clients: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    check_alpha(alpha)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma must be finite and not negative, got {sigma}; 0 means equal sizes")
    if law == "dirichlet":
        return draw_dirichlet_shares(rng, np.full(num_clients, float(alpha)), 1)[0]
    if law == "lognormal":
        logarithms = sigma * rng.standard_normal(num_clients)
        return np.exp(logarithms - logarithms.max())  # Only ratios matter; this cannot overflow.
    raise ValueError(f'law must be "dirichlet" or "lognormal", got {law!r}; choose one of the two')
