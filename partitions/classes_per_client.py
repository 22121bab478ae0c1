"""Label skew by number of classes: every client holds the same small number of classes.

Every class is held by equally many clients and is divided evenly among them, so only the number of
classes per client varies.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partitions._apportion import level_down, split_evenly
from partitions._grouping import deal
from partitions._repair import repair
from partitions._validation import check_arguments, check_at_least
from partitions.partition import IntArray, Partition


def classes_per_client(
    labels: ArrayLike, num_clients: int, seed: int, classes: int = 2, min_size: int = 10
) -> Partition:
    """Give every client `classes` random classes and an even part of each.

    Every class has a holder: if num_clients * classes is below the number of classes, some
    clients hold more. If classes have too few examples for that many holders, clients hold fewer.

    Args:
        labels: Class of each example, [n].
        num_clients: Number of clients.
        seed: Same seed, same split.
        classes: Number of classes of each client; more than there are means all.
        min_size: Minimum size of a client, capped at n // num_clients. Smaller clients receive
            random examples of the largest, if need be of other classes; 1 keeps the classes exact.

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
    column, rng = check_arguments(labels, num_clients, seed)
    check_at_least("classes", classes, 1)
    _, codes, class_sizes = np.unique(column, return_inverse=True, return_counts=True)
    holds = _choose(class_sizes, num_clients, classes, rng)
    counts = np.zeros_like(holds, dtype=np.int64)
    for label, size in enumerate(class_sizes):
        holders = rng.permutation(np.flatnonzero(holds[label]))
        counts[label, holders] = split_evenly(int(size), len(holders))
    return repair(deal(codes, counts, rng), num_clients, min_size, rng)


def _choose(
    class_sizes: IntArray, num_clients: int, classes: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw which clients hold which classes, [C, K]."""
    most = np.minimum(class_sizes, num_clients)
    total = min(max(num_clients * classes, len(most)), int(most.sum()))
    order = rng.permutation(len(most))
    places = np.empty_like(most)
    places[order] = level_down(most[order], total)
    holds = np.zeros((len(most), num_clients), dtype=bool)
    for client, quota in enumerate(split_evenly(total, num_clients)):
        # Taking the classes with the most free places always succeeds (Gale and Ryser, 1957).
        chosen = np.lexsort((rng.random(len(places)), -places))[:quota]
        holds[chosen, client] = True
        places[chosen] -= 1
    return holds
