"""RI-SGD's redundancy: every client also stores a part of its neighbours' data.

Sharing a fraction mu of the dataset reduces the drift of local models between synchronisations, and
keeps the data of a client that drops out available at others. The costs are storage and, since a
batch is drawn from every chunk, gradients.

Every example is held by at least 1 + floor(mu K) clients for every base: from mu = 1 / K on the
data survive the loss of any one client, from mu = 2 / K that of any two.

    Haddadpour, Kamani, Mahdavi, Cadambe. Trading Redundancy for Communication. 2019.
    https://proceedings.mlr.press/v97/haddadpour19a.html

Paper symbol -> name here: p -> num_clients, D_j -> own chunk of client j, mu -> mu.

Differences from the paper: its chunks have one size, so that whole following chunks copy every
example equally often. Here a base may be uneven, and clients then exchange copies of examples held
too often for examples held too rarely.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import level_down
from partitions._validation import check_at_least
from partitions.iid import iid
from partitions.partition import IntArray, Partition


def redundant(
    labels: ArrayLike,
    num_clients: int,
    seed: int,
    mu: float = 0.25,
    base: Callable[[ArrayLike, int, int], Partition] = iid,
    min_size: int = 10,
) -> Partition:
    """Add to each client of `base` the following chunks, up to a fraction mu of the dataset.

    Client j takes whole chunks j+1, j+2, ... cyclically and a random part of the last one:
    round(mu * n) extra examples in total, at most those it does not own, or as many as are needed
    to copy every example floor(mu * num_clients) times. If `base` is uneven, some are exchanged so
    that every example has its copies. The result stores about num_clients * mu * n indices.

    Args:
        labels: Class of each example, [n], or another column that `base` takes.
        num_clients: Number of clients.
        seed: Same seed, same split.
        mu: Redundant fraction of the whole dataset, 0 <= mu < 1.
        base: A disjoint scheme, for example functools.partial(dirichlet, alpha=0.5).
        min_size: Not used, since redundancy only makes clients larger; accepted as in the other
            schemes. `base` applies its own.

    Returns:
        The partition; `chunks` holds each client's own chunk first, then the whole following ones,
        then the rest, which is merged into the previous chunk if it is smaller than half a mean
        chunk. Every example is held by at least 1 + floor(mu * num_clients) clients.

    Raises:
        ValueError: mu outside [0, 1), `base` is not disjoint, or `base` raises it.

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
            f"base must give every example to exactly one client, got {total} indices for "
            f"{np.size(labels)} examples; use a disjoint scheme such as partitions.iid"
        )
    # Not base's stream: the sub-samples must not depend on how the base drew its examples.
    rng = np.random.default_rng([seed, 1])
    # 0.29 * 100 is less than 29 in floating point; mu < 1 must not be rounded up to 1.
    copies = min(int(mu * num_clients + 1e-9), num_clients - 1)
    extra = _extra(own, mu, copies)
    clients = [_take(own, client, extra, rng) for client in range(num_clients)]
    levelled = _level_copies(clients, own, copies, rng)
    return Partition.from_chunks(_merge_small(groups, total, num_clients) for groups in levelled)


def _extra(own: Partition, mu: float, copies: int) -> int:
    """Return the number of extra examples per client, before capping at those it does not own."""
    sizes = np.array([len(chunk) for chunk in own], dtype=np.int64)
    total = int(sizes.sum())
    return max(round(mu * total), int(level_down(total - sizes, copies * total).max()))


def _take(own: Partition, client: int, extra: int, rng: np.random.Generator) -> list[IntArray]:
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


def _level_copies(
    clients: list[list[IntArray]], own: Partition, copies: int, rng: np.random.Generator
) -> list[list[IntArray]]:
    """Exchange copies until every example has at least `copies`.

    One pass is enough. After it a client has no surplus copy, or holds all examples that lack one.
    An example with a surplus copy is held by more clients, its owner included, than one that lacks
    a copy. So one of these clients does not hold the latter, and could have exchanged.
    """
    counts = _count_copies(clients, own)
    lacking = np.flatnonzero(counts < copies)
    levelled = []
    for groups in clients:
        levelled.append(_exchange(groups, lacking, counts, copies, rng))
        lacking = lacking[counts[lacking] < copies]
    return levelled


def _count_copies(clients: list[list[IntArray]], own: Partition) -> IntArray:
    """Return the number of clients besides its owner that hold each example, [n]."""
    counts = np.zeros(sum(map(len, own)), dtype=np.int64)
    # Whole chunks are shared arrays, so each is counted once.
    times = Counter(id(group) for groups in clients for group in groups[1:])
    for chunk in own:
        counts[chunk] = times[id(chunk)]
    whole = set(map(id, own))
    for group in (group for groups in clients for group in groups if id(group) not in whole):
        counts[group] += 1
    return counts


def _exchange(
    groups: list[IntArray],
    lacking: IntArray,
    counts: IntArray,
    copies: int,
    rng: np.random.Generator,
) -> list[IntArray]:
    """Return a client's groups after its exchange, whole chunks first; updates `counts`."""
    if not len(lacking):
        return groups
    held = np.zeros(len(counts), dtype=bool)
    held[np.concatenate(groups)] = True
    wanted = lacking[~held[lacking]]
    # Drop from the last groups, so that most of the others stay whole.
    others = [rng.permutation(group[counts[group] > copies]) for group in groups[1:]]
    spare = np.concatenate([*others, np.empty(0, dtype=np.int64)])
    number = min(len(spare), len(wanted))
    if number == 0:
        return groups
    dropped = spare[len(spare) - number :]
    taken = rng.choice(wanted, number, replace=False)
    counts[dropped] -= 1
    counts[taken] += 1
    held[dropped] = False
    kept = [group for group in groups[1:-1] if held[group].all()]
    held[taken] = True
    held[np.concatenate([groups[0], *kept])] = False
    return [groups[0], *kept, np.flatnonzero(held)]


def _merge_small(groups: list[IntArray], total: int, num_clients: int) -> list[IntArray]:
    """Return the groups, with a small last one merged into the previous one.

    A mini-batch holds examples from every chunk: a chunk of one would be in every mini-batch.
    """
    if len(groups) < 3 or 2 * num_clients * len(groups[-1]) >= total:
        return groups
    return [*groups[:-2], np.sort(np.concatenate(groups[-2:]))]
