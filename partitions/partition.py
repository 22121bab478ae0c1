"""The result of every scheme: the examples of each client, in groups (chunks).

Mini-batches are drawn from each group in proportion to its size. So a client that also stores a
neighbour's chunk has both in every mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]


class Partition(tuple[IntArray, ...]):
    """Tuple of one sorted int64 index array per client.

    Treat the arrays as read-only: clients that hold the same chunk share its array.

    Attributes:
        chunks: For each client the groups of indices that a mini-batch is drawn from in
            proportion to their sizes. They are disjoint and together they are the client's array.

    >>> Partition([[0, 2], [1, 3, 4]])
    Partition(2 clients, sizes 2 to 3)
    """

    chunks: tuple[tuple[IntArray, ...], ...]

    def __new__(
        cls,
        indices: Iterable[ArrayLike],
        chunks: Iterable[Iterable[ArrayLike]] | None = None,
    ) -> Partition:
        """Check and store the arrays.

        Args:
            indices: Per client, the strictly increasing indices of its examples.
            chunks: Per client, its groups; by default a single group, the whole array.

        Raises:
            ValueError: An array is not strictly increasing integers, or the groups do not add up.
        """
        self = super().__new__(cls, map(_check_increasing, indices))
        groups = ((held,) for held in self) if chunks is None else chunks
        # Redundant clients share the arrays of chunks, so each is checked once. The given object
        # is kept as well, so that its id stays unique.
        known: dict[int, tuple[ArrayLike, IntArray]] = {}

        def check(group: ArrayLike) -> IntArray:
            if id(group) not in known:
                known[id(group)] = group, _check_increasing(group)
            return known[id(group)][1]

        self.chunks = tuple(tuple(map(check, client_groups)) for client_groups in groups)
        held_sizes = [len(held) for held in self]
        group_sizes = [sum(map(len, client_groups)) for client_groups in self.chunks]
        if held_sizes != group_sizes:
            raise ValueError(
                f"chunks of sizes {group_sizes} do not split clients of sizes {held_sizes}; "
                "give every client disjoint groups that together are its indices"
            )
        return self

    def __repr__(self) -> str:
        held = [len(indices) for indices in self] or [0]
        return f"Partition({len(self)} clients, sizes {min(held)} to {max(held)})"

    @classmethod
    def from_owners(cls, owners: IntArray, num_clients: int) -> Partition:
        """Collect each client's examples from the owner of each example, [n].

        >>> [held.tolist() for held in Partition.from_owners(np.array([1, 0, 1]), 3)]
        [[1], [0, 2], []]
        """
        # A stable sort leaves the indices of one client in increasing order.
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=num_clients))
        return cls(np.split(order, ends[:-1]))

    @classmethod
    def from_chunks(cls, chunks: Iterable[Iterable[IntArray]]) -> Partition:
        """Build each client's array as the union of its groups.

        >>> Partition.from_chunks([[np.array([4, 7]), np.array([0])]])[0].tolist()
        [0, 4, 7]
        """
        groups = tuple(map(tuple, chunks))
        return cls(_unite(groups), groups)

    @classmethod
    def of(cls, given: object, num_clients: int, num_examples: int) -> Partition:
        """Check the result of a scheme, and convert plain arrays of indices to a partition.

        Args:
            given: A partition, or one array of indices per client in any order.
            num_clients: Required number of clients.
            num_examples: Number of labels that the scheme received.

        Returns:
            The partition; `given` itself if it is one.

        Raises:
            ValueError: Another number of clients, a client without examples, or indices that are
                not integers, repeated or outside 0..num_examples-1.

        >>> Partition.of([[2, 0], np.array([1])], num_clients=2, num_examples=3)[0].tolist()
        [0, 2]
        """
        if isinstance(given, Partition):
            split = given
        elif isinstance(given, Iterable) and not isinstance(given, Mapping | str):
            held = (_sort_indices(indices, client) for client, indices in enumerate(given))
            split = cls(held)
        else:
            raise ValueError(
                f"the scheme returned a {type(given).__name__}; it must return one array of"
                " indices per client, as a list or a partitions.Partition"
            )
        _check_fits(split, num_clients, num_examples)
        return split


def _check_increasing(indices: ArrayLike) -> IntArray:
    array = np.asarray(indices)
    integers = array.size == 0 or array.dtype.kind in "iu"
    if array.ndim != 1 or not integers or not (array[1:] > array[:-1]).all():
        raise ValueError(
            f"indices must be a strictly increasing 1-D integer array, got dtype "
            f"{array.dtype} and shape {array.shape}; "
            "sort them and drop repetitions with numpy.unique"
        )
    return cast(IntArray, array.astype(np.int64, copy=False))


def _sort_indices(indices: ArrayLike, client: int) -> IntArray:
    array = np.asarray(indices)
    if array.ndim == 0:
        raise ValueError(
            f"client {client} has a single number; give one array of indices per client, and for"
            " the client of each example: [numpy.flatnonzero(ids == k) for k in range(num_clients)]"
        )
    if array.dtype.kind == "b":
        raise ValueError(
            f"client {client} has a boolean mask; give indices: numpy.flatnonzero(mask)"
        )
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"client {client} has {array.dtype} of shape {array.shape}; give the indices of"
            " its examples, integers [n]"
        )
    values, counts = np.unique(array, return_counts=True)
    if counts.max(initial=1) > 1:
        raise ValueError(
            f"client {client} has the index {values[counts.argmax()]} more than once; drop"
            " repetitions with numpy.unique"
        )
    return values.astype(np.int64)


def _check_fits(split: Partition, num_clients: int, num_examples: int) -> None:
    if len(split) != num_clients:
        raise ValueError(
            f"the scheme returned {len(split)} clients, but num_clients={num_clients}; it must"
            " return one array of indices per client"
        )
    for client, held in enumerate(split):
        if not len(held):
            raise ValueError(
                f"client {client} holds no example; use fewer clients, or min_size >= 1"
            )
        if held[0] < 0 or held[-1] >= num_examples:
            raise ValueError(
                f"client {client} has the index {held[0] if held[0] < 0 else held[-1]}; there are"
                f" {num_examples} examples, 0 to {num_examples - 1}"
            )


def _unite(clients: tuple[tuple[IntArray, ...], ...]) -> Iterator[IntArray]:
    """Yield the sorted union of each client's groups, which are disjoint.

    Consecutive clients share most arrays, so only the differences are marked and unmarked. Sorting
    would take longer than the whole scheme.
    """
    every = {id(group): group for groups in clients for group in groups}.values()
    marked = np.zeros(1 + max((group.max(initial=-1) for group in every), default=-1), dtype=bool)
    before: dict[int, IntArray] = {}
    for groups in clients:
        now = {id(group): group for group in groups}
        for key in before.keys() - now.keys():
            marked[before[key]] = False
        for key in now.keys() - before.keys():
            marked[now[key]] = True
        before = now
        yield groups[0] if len(groups) == 1 else np.flatnonzero(marked)
