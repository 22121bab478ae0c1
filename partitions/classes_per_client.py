"""Label skew by number of classes: every client sees the same small number of classes.

Classes are held by equally many clients and each is cut evenly among its holders, so that the
number of classes is the only thing that varies.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions._apportion import evenly, level_off
from partitions._grouping import deal
from partitions._repair import repaired
from partitions._validation import check_at_least, checked
from partitions.partition import IntArray, Partition


def classes_per_client(
    labels: ArrayLike, num_clients: int, seed: int, classes: int = 2, min_size: int = 10
) -> Partition:
    """Give every client `classes` random classes and an even part of each.

    Every class is held by someone: where num_clients * classes is less than the number of classes,
    some clients hold more. Where classes have too few examples for that many holders, clients hold
    fewer.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        classes: Number of classes of each client; more than there are means all.
        min_size: Smallest client, capped at n // num_clients. Short clients are filled at random
            from the largest, if need be with other classes; 1 keeps the classes exact.

    Returns:
        The partition; disjoint and covering 0..n-1.

    Raises:
        ValueError: classes < 1, more clients than examples, or labels that are not a 1-D integer
            array.

    Reference: Li, Diao, Chen, He. Federated Learning on Non-IID Data Silos: An Experimental Study.
    2021. https://arxiv.org/abs/2102.02079

    >>> labels = np.arange(100) % 5
    >>> [len(set(labels[held])) for held in classes_per_client(labels, num_clients=5, seed=0)]
    [2, 2, 2, 2, 2]
    """
    column, rng = checked(labels, num_clients, seed)
    check_at_least("classes", classes, 1)
    _, codes, class_sizes = np.unique(column, return_inverse=True, return_counts=True)
    holds = _choose(class_sizes, num_clients, classes, rng)
    counts = np.zeros_like(holds, dtype=np.int64)
    for label, size in enumerate(class_sizes):
        holders = rng.permutation(np.flatnonzero(holds[label]))
        counts[label, holders] = evenly(int(size), len(holders))
    return repaired(deal(codes, counts, rng), num_clients, min_size, rng)


def _choose(
    class_sizes: IntArray, num_clients: int, classes: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Who holds which class, [C, K]."""
    most = np.minimum(class_sizes, num_clients)
    total = min(max(num_clients * classes, len(most)), int(most.sum()))
    order = rng.permutation(len(most))
    places = np.empty_like(most)
    places[order] = level_off(most[order], total)
    holds = np.zeros((len(most), num_clients), dtype=bool)
    for client, quota in enumerate(evenly(total, num_clients)):
        # Taking the classes with most free places never gets stuck (Gale and Ryser, 1957).
        chosen = np.lexsort((rng.random(len(places)), -places))[:quota]
        holds[chosen, client] = True
        places[chosen] -= 1
    return holds
