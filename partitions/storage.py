"""Partitions as bytes: a digest to compare runs, and a file to repeat them.

Both include the chunks and not only the indices, since mini-batches depend on them.
"""

import hashlib
from itertools import pairwise
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from partitions.partition import IntArray, Partition
from partitions.statistics import (
    earth_movers_distance,
    label_histogram,
    multiplicity,
    overlap_matrix,
    sizes,
)

# Number of clients above which a matrix of all pairs is large.
_MANY = 1000


def digest(partition: Partition) -> str:
    """Return the SHA-256 of clients, chunks and indices as a hex string, equal on all platforms.

    >>> digest(Partition([[0], [1]])) == digest(Partition([[1], [0]]))
    False
    """
    chunk_counts, chunk_sizes = _structure(partition)
    num_clients = np.array([len(partition)], dtype=np.int64)
    hasher = hashlib.sha256()
    for array in (num_clients, chunk_counts, chunk_sizes, *_all_chunks(partition)):
        hasher.update(array.astype("<i8", copy=False).tobytes())
    return hasher.hexdigest()


def save_npz(
    path: str | PathLike[str], partition: Partition, labels: ArrayLike | None = None
) -> None:
    """Write a partition to exactly this path: flat indices, and offsets of chunks and clients.

    Args:
        path: Path of the file.
        partition: Partition to write.
        labels: Class of each example, [n]. If given, the statistics are written as well: `sizes`,
            `label_histogram`, `earth_movers_distance` and `overlap_matrix`. The last is omitted if
            more than 1000 clients share nothing, since it would be large and diagonal.
    """
    chunk_counts, chunk_sizes = _structure(partition)
    indices = np.concatenate([np.empty(0, dtype=np.int64), *_all_chunks(partition)])
    with open(path, "wb") as file:
        np.savez(
            file,
            indices=indices,
            chunk_offsets=_offsets(chunk_sizes),
            client_offsets=_offsets(chunk_counts),
            **({} if labels is None else _statistics(partition, labels)),
        )


def load_npz(path: str | PathLike[str]) -> Partition:
    """Read a partition that `save_npz` wrote.

    Raises:
        ValueError: The file holds other arrays.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if not {"indices", "chunk_offsets", "client_offsets"} <= set(arrays):
            raise ValueError(
                f"{path} is not a partition, it holds {sorted(arrays)}; "
                "pass a file written by save_npz"
            )
        indices, ends, clients = (
            arrays[name] for name in ("indices", "chunk_offsets", "client_offsets")
        )
    chunks = [indices[low:high] for low, high in pairwise(ends)]
    return Partition.from_chunks(chunks[low:high] for low, high in pairwise(clients))


def _statistics(partition: Partition, labels: ArrayLike) -> dict[str, Any]:
    statistics: dict[str, Any] = {
        "sizes": sizes(partition),
        "label_histogram": label_histogram(partition, labels),
        "earth_movers_distance": earth_movers_distance(partition, labels),
    }
    if len(partition) > _MANY and multiplicity(partition).max(initial=0) <= 1:
        return statistics
    return statistics | {"overlap_matrix": overlap_matrix(partition)}


def _all_chunks(partition: Partition) -> list[IntArray]:
    return [chunk for chunks in partition.chunks for chunk in chunks]


def _structure(partition: Partition) -> tuple[IntArray, IntArray]:
    """Return the number of chunks of each client, and of examples of each chunk."""
    chunk_counts = [len(chunks) for chunks in partition.chunks]
    chunk_sizes = [len(chunk) for chunk in _all_chunks(partition)]
    return np.array(chunk_counts, dtype=np.int64), np.array(chunk_sizes, dtype=np.int64)


def _offsets(lengths: IntArray) -> IntArray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
