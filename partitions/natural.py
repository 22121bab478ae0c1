"""The natural split of a dataset by a client-id column, such as writers, speakers or users.

Clients then differ in labels, features and sizes at once. With more ids than clients, whole ids are
grouped so that the groups have similar sizes.
"""

import heapq

import numpy as np
from numpy.typing import ArrayLike

from partitions._validation import check_arguments, check_at_least
from partitions.partition import IntArray, Partition


def natural(client_ids: ArrayLike, num_clients: int, seed: int, min_size: int = 10) -> Partition:
    """Keep the examples of one id together and balance the ids over the clients.

    Clients are numbered by their smallest id: with as many ids as clients, client i is the i-th id.

    Args:
        client_ids: Id of the client each example comes from, integers or strings, [n].
        num_clients: Number of clients, at most the number of distinct ids.
        seed: Same seed, same grouping.
        min_size: Not used, since ids are never split; accepted as in the other schemes.

    Returns:
        The partition; disjoint and covering 0..n-1.

    Raises:
        ValueError: Fewer distinct ids than clients, or ids that are not a 1-D array of integers or
            strings.

    Reference: Caldas, Duddu, Wu, Li, Konecny, McMahan, Smith, Talwalkar. LEAF: A Benchmark for
    Federated Settings. 2018. https://arxiv.org/abs/1812.01097

    >>> [held.tolist() for held in natural(["b", "a", "b", "c"], num_clients=2, seed=0)]
    [[1, 3], [0, 2]]
    """
    column, rng = check_arguments(client_ids, num_clients, seed, kinds="iuUS")
    check_at_least("min_size", min_size, 0)
    _, codes, id_sizes = np.unique(column, return_inverse=True, return_counts=True)
    if len(id_sizes) < num_clients:
        raise ValueError(
            f"num_clients must be at most the number of client ids, got {num_clients} clients for "
            f"{len(id_sizes)} ids; use fewer clients or a scheme that splits by label"
        )
    return Partition.from_owners(_group(id_sizes, num_clients, rng)[codes], num_clients)


def _group(id_sizes: IntArray, num_clients: int, rng: np.random.Generator) -> IntArray:
    """Return the client of each id; each id, largest first, goes to the smallest client so far."""
    shuffled = rng.permutation(len(id_sizes))
    largest_first = shuffled[np.argsort(-id_sizes[shuffled], kind="stable")]
    loads = [(0, client) for client in range(num_clients)]
    dealt = []
    for size in id_sizes[largest_first].tolist():
        load, client = loads[0]
        heapq.heapreplace(loads, (load + size, client))
        dealt.append(client)
    clients = np.empty_like(id_sizes)
    clients[largest_first] = dealt
    _, first_ids = np.unique(clients, return_index=True)
    return np.argsort(np.argsort(first_ids))[clients]
