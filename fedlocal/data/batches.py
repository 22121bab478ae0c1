"""Mini-batches of a client: their sizes, and the examples in them.

A client that holds at most `batch_size` examples uses all of them in every step; any other client
has batches of `batch_size`, and more where it holds redundant chunks.
"""

from collections.abc import Sequence

import numpy as np

from fedlocal.utils.arrays import IntArray

# Index arrays of one client, the first of which is its own.
Chunks = Sequence[IntArray]


def batch_quotas(chunks: Chunks, batch_size: int | None) -> list[int]:
    """Return the number of examples of each pool of chunks in one mini-batch.

    The first chunk gives `batch_size`, at most all of its examples; every further one gives in
    proportion to its size, so that redundancy costs compute as in RI-SGD. A chunk whose quota would
    be below one is merged with the chunk before. A `batch_size` of None takes all examples.
    """
    return [quota for _, quota in _pools(chunks, batch_size)]


def draw_batches(
    chunks: Chunks, steps: int, batch_size: int | None, rng: np.random.Generator
) -> IntArray:
    """Draw the mini-batches of one client's round, [steps, b], as indices of the examples.

    From each chunk: fresh permutations cut into whole batches, so that a batch never holds an
    example twice; the rest of a permutation is skipped.
    """
    columns = [
        pool[_cut(rng, len(pool), quota, steps)] for pool, quota in _pools(chunks, batch_size)
    ]
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _pools(chunks: Chunks, batch_size: int | None) -> list[tuple[IntArray, int]]:
    """Return the pools of a client's chunks, and the examples of each in a mini-batch."""
    own, *others = chunks
    if batch_size is None or batch_size >= len(own):
        return [(chunk, len(chunk)) for chunk in (own, *others)]
    pools = [[own]]
    for chunk in others:
        if batch_size * len(chunk) < len(own):
            pools[-1].append(chunk)
        else:
            pools.append([chunk])
    share = batch_size / len(own)
    joined = [pool[0] if len(pool) == 1 else np.concatenate(pool) for pool in pools]
    return [(pool, min(len(pool), int(share * len(pool) + 0.5))) for pool in joined]


def _cut(rng: np.random.Generator, size: int, quota: int, steps: int) -> IntArray:
    if quota == size:
        return np.broadcast_to(np.arange(size), (steps, size))
    per_pass = size // quota
    passes = -(-steps // per_pass)
    orders = [rng.permutation(size)[: per_pass * quota] for _ in range(passes)]
    return np.concatenate(orders).reshape(-1, quota)[:steps]
