"""Assignment of examples to clients."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.arrays import check_finite
from fedlocal.data.batches import batch_quotas, draw_batches
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
        counts: Weight of each client by example count, [K]; an example that m clients hold
            contributes 1 / m to each.
        pixels: Meaning of the bytes of x; None where x holds numbers.
        here: Ids of the clients whose examples are in this process; those of others are
            placeholders. None for all.
    """

    x: Tensor
    y: Tensor
    chunks: tuple[tuple[IntArray, ...], ...]
    counts: NDArray[np.float64]
    pixels: Pixels | None = None
    here: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for NaN, bytes that do not fit `pixels`, or indices outside the pool."""
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

    def batch_widths(self, batch_size: int | None) -> dict[int, int]:
        """Return the examples in a mini-batch of each client that is in this process, by id."""
        here = range(len(self)) if self.here is None else self.here
        return {client: sum(self.batch_quotas(client, batch_size)) for client in here}

    def batch_quotas(self, client: int, batch_size: int | None) -> list[int]:
        """Return the sizes of a client's mini-batch by pool; see `fedlocal.data.batches`."""
        return batch_quotas(self.chunks[client], batch_size)

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
        """Return the pool indices of the mini-batches of one client's round, [steps, b]."""
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
        return [
            draw_batches(self.chunks[client], count, batch_size, rng) for client, count, rng in each
        ]
