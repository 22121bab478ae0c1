"""Assignment of examples to clients, and mini-batches of each local step."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.arrays import check_finite
from fedlocal.data.examples import check_alike, examples, one_each
from fedlocal.data.pixels import Pixels
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.rng import Purpose, generators


@dataclass(frozen=True, eq=False)
class Clients:
    """A pool of examples and each client's share of it.

    Attributes:
        x: All examples, [n, ...].
        y: All targets, [n, ...].
        chunks: For each client, index arrays into the pool. A mini-batch is drawn from every one
            of them in proportion; most partitions have one chunk a client.
        counts: Weight of each client by example count, [K]; an example that several clients hold
            is shared between them, so that it counts once in all.
        pixels: What the bytes of x mean; None where x holds numbers.
        here: Ids of the clients whose examples are in this process, the others' being
            placeholders; None for all.
    """

    x: Tensor
    y: Tensor
    chunks: tuple[tuple[IntArray, ...], ...]
    counts: NDArray[np.float64]
    pixels: Pixels | None = None
    here: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse other bytes than `pixels` says, NaN, and chunks that are no part of the pool."""
        if self.pixels is not None:
            self.pixels.check(self.x)
        if len(self.x) != len(self.y):
            raise ValueError(f"the pool has {len(self.x)} inputs and {len(self.y)} targets")
        check_finite(self.x, "x of the pool")
        check_finite(self.y, "y of the pool")
        self._check_chunks()

    def _check_chunks(self) -> None:
        if len(self.chunks) == 0 or len(self.counts) != len(self.chunks):
            raise ValueError(
                f"there are {len(self.counts)} counts for {len(self.chunks)} clients; one for each"
                " is needed, and at least one client"
            )
        # Clients may share arrays of chunks: each is looked at once.
        within = {
            id(chunk): chunk.min(initial=0) >= 0 and chunk.max(initial=-1) < len(self.x)
            for chunks in self.chunks
            for chunk in chunks
        }
        for client, chunks in enumerate(self.chunks):
            if not all(within[id(chunk)] for chunk in chunks):
                raise ValueError(f"client {client} holds indices outside 0..{len(self.x) - 1}")
            if not chunks or len(chunks[0]) == 0:
                raise ValueError(
                    f"client {client} holds no example of its own; take fewer clients, or a"
                    " partition with min_size of at least 1"
                )

    @classmethod
    def of(cls, clients: Iterable[Any]) -> "Clients":
        """Clients from what each of them holds.

        Args:
            clients: For each client a pair (x [n_i, ...], y [n_i, ...]) of tensors or numpy arrays,
                a map-style torch Dataset of items (x, y), or a list of such items; see
                `fedlocal.data.examples`.

        Raises:
            ValueError: What one client holds cannot be used, or does not fit what the others hold.
        """
        given = one_each(clients)
        names = [f"client {i}" for i in range(len(given))]
        pairs = [examples(each, name) for each, name in zip(given, names, strict=True)]
        check_alike(pairs, names)
        sizes = np.array([len(x) for x, _ in pairs])
        parts = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
        return cls(
            x=torch.cat([x for x, _ in pairs]),
            y=torch.cat([y for _, y in pairs]),
            chunks=tuple((part,) for part in parts),
            counts=sizes.astype(np.float64),
        )

    def __len__(self) -> int:
        """K, the number of clients."""
        return len(self.chunks)

    @property
    def held(self) -> IntArray:
        """Indices of the examples that anyone holds, sorted."""
        every = np.concatenate([chunk for chunks in self.chunks for chunk in chunks])
        # Marking is faster than sorting, and many may be held by several.
        marked = np.zeros(1 + every.max(initial=-1), dtype=bool)
        marked[every] = True
        return np.flatnonzero(marked)

    def batch_quotas(self, client: int, batch_size: int | None) -> list[int]:
        """Return the number of examples of each pool of chunks in one mini-batch.

        The first chunk is the client's own and gives `batch_size`; every further one gives in
        proportion to its size, so that redundancy costs compute as in RI-SGD. A chunk that would
        give less than one example is drawn from together with the one before. None: everything.
        """
        return [quota for _, quota in self._pools(client, batch_size)]

    def _pools(self, client: int, batch_size: int | None) -> list[tuple[IntArray, int]]:
        """Return the pools of a client's chunks, and the examples of each in a mini-batch."""
        own, *others = self.chunks[client]
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

    def epoch(self, client: int, batch_size: int | None) -> float:
        """Return the local steps of one pass: examples held / examples in a batch."""
        held = sum(len(chunk) for chunk in self.chunks[client])
        return held / sum(self.batch_quotas(client, batch_size))

    def examples(self, client: int) -> IntArray:
        """Return the pool indices of all that a client holds, [n_i]."""
        return np.concatenate(self.chunks[client])

    def batches(
        self, client: int, steps: int, batch_size: int | None, seed: int, round_index: int
    ) -> IntArray:
        """Return the pool indices of the mini-batches of one client's round, [steps, b].

        From each chunk: fresh permutations cut into whole batches, so that a batch never holds an
        example twice and what is left over of a permutation is simply skipped.
        """
        members = np.array([client]), np.array([steps])
        return self.cohort_batches(*members, batch_size, seed, round_index)[0]

    def cohort_batches(
        self,
        members: IntArray,
        steps: IntArray,
        batch_size: int | None,
        seed: int,
        round_index: int,
    ) -> list[IntArray]:
        """Return the `batches` of each of these clients, with these numbers of steps, [S]."""
        each = zip(
            members.tolist(),
            steps.tolist(),
            generators(seed, Purpose.BATCHES, members.tolist(), round_index),
            strict=True,
        )
        return [self._batches(client, count, batch_size, rng) for client, count, rng in each]

    def _batches(
        self, client: int, steps: int, batch_size: int | None, rng: np.random.Generator
    ) -> IntArray:
        columns = [
            pool[_cut(rng, len(pool), quota, steps)]
            for pool, quota in self._pools(client, batch_size)
        ]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _cut(rng: np.random.Generator, size: int, quota: int, steps: int) -> IntArray:
    if quota == size:
        return np.broadcast_to(np.arange(size), (steps, size))
    per_pass = size // quota
    passes = -(-steps // per_pass)
    orders = [rng.permutation(size)[: per_pass * quota] for _ in range(passes)]
    return np.concatenate(orders).reshape(-1, quota)[:steps]
