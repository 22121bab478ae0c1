"""Table of client states for a large population, of which each round updates a few.

Each round appends its states as one block of rows; the table maps a client to the block and row of
its newest state. The cost of a round depends on the cohort only, memory grows with the number of
clients that have participated, and older tables remain valid.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, concatenate, leaves, tree_map

# Asynchronous clients add one block each, and one file each where they are spilled.
MOST_BLOCKS = 1000


class Block(NamedTuple):
    """Rows stored by one call of `put`.

    states: Every tensor [size, ...]. spilled: Whether they are mapped from a file, and therefore on
    the CPU for any device of the run.
    """

    states: Tree
    size: int
    spilled: bool


@dataclass(frozen=True, eq=False)
class ClientTable:
    """Newest state of each of K clients.

    Attributes:
        fresh: Initial state of a client, every tensor [...]; all states are returned on its device.
        blocks: Stored rows.
        block: Index of the block that holds each client's state, [K]; -1 for none.
        row: Row within that block, [K]; 0 for none.
    """

    fresh: Tree
    blocks: tuple[Block, ...]
    block: IntArray
    row: IntArray

    @classmethod
    def of(cls, fresh: Tree, num_clients: int) -> "ClientTable":
        """Return the table of a population in which nobody has participated."""
        zeros = np.zeros(num_clients, dtype=np.int64)
        return cls(fresh, (), zeros - 1, zeros)

    def __len__(self) -> int:
        """Return K, the number of clients."""
        return len(self.block)

    @property
    def rows_held(self) -> int:
        """Number of stored rows, at most twice the number of clients that have participated."""
        return sum(block.size for block in self.blocks)

    def take(self, ids: IntArray) -> Tree:
        """Return the states of these clients, every tensor [S, ...]. Read only: they may be shared.

        >>> table = ClientTable.of(torch.zeros(2), num_clients=1000)
        >>> table = table.put(np.array([7, 9]), torch.ones(2, 2))
        >>> table.take(np.array([9, 8])).tolist(), table.rows_held
        ([[1.0, 1.0], [0.0, 0.0]], 2)
        """
        block, row = self.block[ids], self.row[ids]
        used, which = np.unique(block, return_inverse=True)
        sources = [self._source(number) for number in used]
        if _is_whole(sources, row):
            return self._handed_out(sources[0].states)
        picked = list(zip(which.tolist(), row.tolist(), strict=True))
        spilled = any(source.spilled for source in sources)

        def gathered(*parts: Tensor) -> Tensor:
            rows = [parts[number][at] for number, at in picked]
            return torch.stack([one.cpu() for one in rows] if spilled else rows)

        states = tree_map(gathered, *[source.states for source in sources])
        return self._handed_out(states)

    def everyone(self) -> Tree:
        """Return the states of all clients, every tensor [K, ...]."""
        return self.take(np.arange(len(self)))

    def put(self, ids: IntArray, states: Tree, spill: str | None = None) -> "ClientTable":
        """Return a table with new states of these clients.

        Args:
            ids: Distinct client ids, [S].
            states: Their states, every tensor [S, ...]; the table takes ownership.
            spill: Folder for the rows; None keeps them in memory.
        """
        if len(ids) == 0 or next(leaves(self.fresh), None) is None:
            return self
        new = len(self.blocks)
        block, row = self.block.copy(), self.row.copy()
        block[ids], row[ids] = new, np.arange(len(ids))
        sizes = np.array([*(old.size for old in self.blocks), len(ids)])
        # The last bin counts clients without a block.
        live = np.bincount(block % (new + 2), minlength=new + 2)[: new + 1]
        given_up = np.append(_given_up(sizes, live), False)
        moved = np.flatnonzero(given_up[block])
        if len(moved):
            states = concatenate([states, self.take(moved)])
            block[moved], row[moved] = new, len(ids) + np.arange(len(moved))
        size = len(ids) + len(moved)
        blocks = (*self.blocks, _stored(states, size, spill))
        kept = np.flatnonzero(~given_up[:-1])
        place = np.full(new + 2, -1)
        place[kept] = np.arange(len(kept))
        return replace(self, blocks=tuple(blocks[i] for i in kept), block=place[block], row=row)

    def to(self, device: torch.device) -> "ClientTable":
        """Return a copy on this device; spilled blocks stay in their files."""

        def copied(tree: Tree) -> Tree:
            return tree_map(lambda t: t.to(device, copy=True), tree)

        blocks = tuple(
            block if block.spilled else block._replace(states=copied(block.states))
            for block in self.blocks
        )
        return replace(self, fresh=copied(self.fresh), blocks=blocks)

    def _source(self, number: int) -> Block:
        if number >= 0:
            return self.blocks[number]
        return Block(tree_map(lambda t: t.unsqueeze(0), self.fresh), 1, spilled=False)

    def _handed_out(self, states: Tree) -> Tree:
        return tree_map(lambda t, like: t.to(like.device), states, self.fresh)


def _is_whole(sources: list[Block], row: IntArray) -> bool:
    """Return whether the rows are one whole block in order, which needs no copy."""
    return len(sources) == 1 and np.array_equal(row, np.arange(sources[0].size))


def _given_up(sizes: IntArray, live: IntArray) -> NDArray[np.bool_]:
    """Return which blocks to drop, [B], after their live rows move to the last one.

    Dropped are blocks without a live row, the emptiest ones while more than half of all rows are
    dead, and the smaller half of the blocks when there are too many.
    """
    gone = live == 0
    emptiest = np.argsort(live / sizes, kind="stable")
    # Rows stored after dropping the first, the first two, ... of them.
    stored = sizes.sum() - np.cumsum((sizes - live)[emptiest])
    if sizes.sum() > 2 * live.sum():
        gone[emptiest[: 1 + np.count_nonzero(stored > 2 * live.sum())]] = True
    rest = np.flatnonzero(~gone)[:-1]
    if len(rest) >= MOST_BLOCKS:
        gone[rest[np.argsort(live[rest], kind="stable")[: len(rest) // 2]]] = True
    return gone


def _stored(states: Tree, size: int, spill: str | None) -> Block:
    if spill is None:
        return Block(states, size, spilled=False)
    return Block(tree_map(lambda t: _in_file(t, Path(spill)), states), size, spilled=True)


def _in_file(t: Tensor, folder: Path) -> Tensor:
    """Return the tensor mapped from a file that exists as long as the mapping.

    The file is unlinked before this returns, so a killed process leaves nothing behind. It is
    filled by write() and not through the mapping, so that a full disk raises OSError and not a
    bus error.
    """
    if t.numel() == 0:
        return t.cpu()
    with NamedTemporaryFile(dir=folder, prefix="fedlocal-") as file:
        t.detach().cpu().numpy().tofile(file)
        file.flush()
        return torch.from_file(file.name, size=t.numel(), dtype=t.dtype).view(t.shape)
