"""Who holds which examples, and which of them each local step looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.pixels import Pixels
from fedlocal.rng import Purpose, generators

IntArray = NDArray[np.int64]


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
        """Refuse bytes of another kind than `pixels` says."""
        if self.pixels is not None:
            self.pixels.check(self.x)

    @classmethod
    def of(cls, pairs: Sequence[tuple[Tensor, Tensor]]) -> "Clients":
        """Clients from one (x, y) pair each."""
        if len(pairs) == 0:
            raise ValueError("no clients were given; pass one (x, y) pair of tensors per client")
        for i, (x, y) in enumerate(pairs):
            if len(x) != len(y) or len(x) == 0:
                raise ValueError(
                    f"client {i} has {len(x)} inputs and {len(y)} targets; both must be equal"
                    " and at least 1"
                )
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
        """How many examples of each chunk go into one mini-batch.

        The first chunk is the client's own and gives `batch_size`; every further one gives in
        proportion to its size, so that redundancy costs compute as in RI-SGD. None: everything.
        """
        own, *others = map(len, self.chunks[client])
        if batch_size is None or batch_size >= own:
            return [own, *others]
        share = batch_size / own
        return [batch_size, *(max(1, min(size, int(share * size + 0.5))) for size in others)]

    def epoch(self, client: int, batch_size: int | None) -> float:
        """Examples held / examples in a batch: the local steps of one pass."""
        held = sum(len(chunk) for chunk in self.chunks[client])
        return held / sum(self.batch_quotas(client, batch_size))

    def examples(self, client: int) -> IntArray:
        """Pool indices of all that a client holds, [n_i]."""
        return np.concatenate(self.chunks[client])

    def batches(
        self, client: int, steps: int, batch_size: int | None, seed: int, round_index: int
    ) -> IntArray:
        """Pool indices of the mini-batches of one client's round, [steps, b].

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
        """The `batches` of each of these clients, with so many steps each, [S]."""
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
        quotas = self.batch_quotas(client, batch_size)
        columns = [
            chunk[_cut(rng, len(chunk), quota, steps)]
            for chunk, quota in zip(self.chunks[client], quotas, strict=True)
        ]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def among(ids: IntArray, these: IntArray) -> NDArray[np.bool_]:
    """Which of the ids are among these, a bool each."""
    # Mostly all are, and `isin` sorts.
    return np.ones(len(ids), bool) if np.array_equal(ids, these) else np.isin(ids, these)


def _cut(rng: np.random.Generator, size: int, quota: int, steps: int) -> IntArray:
    if quota == size:
        return np.broadcast_to(np.arange(size), (steps, size))
    per_pass = size // quota
    passes = -(-steps // per_pass)
    orders = [rng.permutation(size)[: per_pass * quota] for _ in range(passes)]
    return np.concatenate(orders).reshape(-1, quota)[:steps]
