"""RI-SGD's redundancy: every client also stores a part of its neighbours' data.

Sharing a fraction mu of the dataset makes local models drift apart less between synchronisations,
and the data of a client that drops out live on at others. The price is storage and, since a batch
is drawn from every chunk, gradients.

    Haddadpour, Kamani, Mahdavi, Cadambe. Trading Redundancy for Communication. 2019.
    https://proceedings.mlr.press/v97/haddadpour19a.html

Paper symbol -> name here: p -> num_clients, D_j -> own chunk of client j, mu -> mu.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from partitions.iid import iid
from partitions.partition import IntArray, Partition
from partitions.validation import check_at_least


def redundant(
    labels: ArrayLike,
    num_clients: int,
    seed: int,
    mu: float = 0.25,
    base: Callable[[ArrayLike, int, int], Partition] = iid,
    min_size: int = 10,
) -> Partition:
    """Add to each client of `base` the following chunks, until it holds mu of the dataset more.

    Client j takes whole chunks j+1, j+2, ... cyclically and a random part of the last one: in all
    round(mu * n) extra examples, capped at what it does not own. The result stores about
    num_clients * mu * n indices.

    Args:
        labels: Class of each example, [n], or whatever `base` takes.
        num_clients: Number of clients.
        seed: Same seed, same split.
        mu: Redundant fraction of the whole dataset, 0 <= mu < 1.
        base: A disjoint scheme, for example functools.partial(dirichlet, alpha=0.5).
        min_size: Taken for uniformity, without influence: `base` has filled up short clients, and
            redundancy only makes clients larger.

    Returns:
        The partition; `chunks` holds each client's own chunk first, then the following ones.

    Raises:
        ValueError: mu outside [0, 1), `base` is not disjoint, or arguments that `base` refuses.

    Reference: Haddadpour, Kamani, Mahdavi, Cadambe. Trading Redundancy for Communication. 2019.
    https://proceedings.mlr.press/v97/haddadpour19a.html

    >>> split = redundant(np.zeros(8, dtype=int), num_clients=4, seed=0, mu=3 / 8)
    >>> [[len(chunk) for chunk in chunks] for chunks in split.chunks]
    [[2, 2, 1], [2, 2, 1], [2, 2, 1], [2, 2, 1]]
    """
    check_at_least("min_size", min_size, 0)
    if not 0 <= mu < 1:
        raise ValueError(
            f"mu must be in [0, 1), got {mu}; it is the redundant fraction of the whole dataset"
        )
    own = base(labels, num_clients, seed)
    total = sum(map(len, own))
    if total != np.size(labels):
        raise ValueError(
            f"base must give every example to exactly one client, got {total} places for "
            f"{np.size(labels)} examples; use a disjoint scheme such as partitions.iid"
        )
    # Not base's stream: the sub-samples must not depend on how the examples were dealt.
    rng = np.random.default_rng([seed, 1])
    clients = range(num_clients)
    return Partition.from_chunks(_held(own, j, round(mu * total), rng) for j in clients)


def _held(own: Partition, client: int, extra: int, rng: np.random.Generator) -> list[IntArray]:
    held = [own[client]]
    for chunk in own[client + 1 :] + own[:client]:
        if extra == 0:
            break
        if len(chunk) > extra:
            chunk = np.sort(rng.choice(chunk, extra, replace=False))
        if len(chunk):
            held.append(chunk)
            extra -= len(chunk)
    return held
