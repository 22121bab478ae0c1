"""RI-SGD's redundancy: every client also stores a part of its neighbours' data.

Sharing a fraction mu of the dataset makes local models drift apart less between synchronisations,
and the data of a client that drops out live on at others. The price is storage and, since a batch
is drawn from every chunk, gradients.

Every example is held by 1 + floor(mu K) clients or more, whatever the base: from mu = 1 / K on the
data of any one client live on without it, from mu = 2 / K on those of any two.

    Haddadpour, Kamani, Mahdavi, Cadambe. Trading Redundancy for Communication. 2019.
    https://proceedings.mlr.press/v97/haddadpour19a.html

Paper symbol -> name here: p -> num_clients, D_j -> own chunk of client j, mu -> mu.

Differences from the paper: its chunks are of one size, so that whole following chunks copy every
example equally often. Here a base may be uneven, and clients then exchange copies of examples that
are held more often than promised for such as are held less often.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from partitions._apportion import level_off
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
    """Add to each client of `base` the following chunks, until it holds mu of the dataset more.

    Client j takes whole chunks j+1, j+2, ... cyclically and a random part of the last one: in all
    round(mu * n) extra examples, capped at what it does not own, or as many as it takes to copy
    every example floor(mu * num_clients) times. Where `base` is uneven, some of them are exchanged
    so that every example has its copies. The result stores about num_clients * mu * n indices.

    Args:
        labels: Class of each example, [n], or whatever `base` takes.
        num_clients: Number of clients.
        seed: Same seed, same split.
        mu: Redundant fraction of the whole dataset, 0 <= mu < 1.
        base: A disjoint scheme, for example functools.partial(dirichlet, alpha=0.5).
        min_size: Taken for uniformity, without influence: `base` has filled up short clients, and
            redundancy only makes clients larger.

    Returns:
        The partition; `chunks` holds each client's own chunk first, then the following ones that
        it holds whole, then the rest, which joins the chunk before where it is less than half a
        mean chunk. Every example is held by at least 1 + floor(mu * num_clients) clients.

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
    # 0.29 * 100 is less than 29 in floating point; mu < 1 is not to become 1.
    copies = min(int(mu * num_clients + 1e-9), num_clients - 1)
    extra = _extra(own, mu, copies)
    clients = [_held(own, client, extra, rng) for client in range(num_clients)]
    levelled = _levelled(clients, own, copies, rng)
    return Partition.from_chunks(_joined(groups, total, num_clients) for groups in levelled)


def _extra(own: Partition, mu: float, copies: int) -> int:
    """How many examples each client holds beyond its own, as far as there are others."""
    sizes = np.array([len(chunk) for chunk in own], dtype=np.int64)
    total = int(sizes.sum())
    return max(round(mu * total), int(level_off(total - sizes, copies * total).max()))


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


def _levelled(
    clients: list[list[IntArray]], own: Partition, copies: int, rng: np.random.Generator
) -> list[list[IntArray]]:
    """Exchange copies until every example has at least `copies`.

    One pass is enough. Afterwards a client has no copy to spare, or holds all that still lacks one.
    An example with a copy to spare is at more clients than one that lacks a copy, its owner
    included; so one of these clients does not hold the latter, and could have exchanged.
    """
    counts = _copies(clients, own)
    lacking = np.flatnonzero(counts < copies)
    levelled = []
    for groups in clients:
        levelled.append(_exchanged(groups, lacking, counts, copies, rng))
        lacking = lacking[counts[lacking] < copies]
    return levelled


def _copies(clients: list[list[IntArray]], own: Partition) -> IntArray:
    """How many clients hold each example beside its owner, [n]."""
    counts = np.zeros(sum(map(len, own)), dtype=np.int64)
    # Whole chunks are shared arrays: each is looked at once.
    times = Counter(id(group) for groups in clients for group in groups[1:])
    for chunk in own:
        counts[chunk] = times[id(chunk)]
    whole = set(map(id, own))
    for group in (group for groups in clients for group in groups if id(group) not in whole):
        counts[group] += 1
    return counts


def _exchanged(
    groups: list[IntArray],
    lacking: IntArray,
    counts: IntArray,
    copies: int,
    rng: np.random.Generator,
) -> list[IntArray]:
    """A client's groups after its exchange; changes `counts`. What is not whole comes last."""
    if not len(lacking):
        return groups
    held = np.zeros(len(counts), dtype=bool)
    held[np.concatenate(groups)] = True
    wanted = lacking[~held[lacking]]
    # From the last groups, so that most of the others stay whole.
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


def _joined(groups: list[IntArray], total: int, num_clients: int) -> list[IntArray]:
    """The groups, a small last one joined to the one before.

    A mini-batch takes whole examples from every chunk: a chunk of one would be in all of them.
    """
    if len(groups) < 3 or 2 * num_clients * len(groups[-1]) >= total:
        return groups
    return [*groups[:-2], np.sort(np.concatenate(groups[-2:]))]
