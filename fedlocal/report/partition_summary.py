"""Summaries of partitions: the examples that each client holds, from partition.npz."""

from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import labels, resolved_settings

# More rows than this cannot be told apart.
MOST_CLIENTS = 100
MOST_PICTURES = 40
# First parts of the keys that a partition depends on, which its label is made of.
DEPENDS_ON = ("K", "seed", "partition", "dataset")


class PartitionSummary(NamedTuple):
    """Summarises a partition, or evenly spaced clients of a large one.

    Attributes:
        label: Settings that differ from those of the other partitions.
        clients: Numbers of the S clients shown, [S].
        counts: Examples of each class at each client shown, [S, C].
        shared: Share of one client's examples (row) that another (column) holds too, [S, S]; nan
            for a client without examples. None where no two of all clients share an example.
        total: Number of all clients, K.
        copies: Number of stored examples beyond the first copy of each.
    """

    label: str
    clients: NDArray[np.int64]
    counts: NDArray[np.int64]
    shared: NDArray[np.float64] | None
    total: int
    copies: int

    @property
    def note(self) -> str:
        """Statement of how many clients are shown; "" if all are."""
        if len(self.clients) == self.total:
            return ""
        return f"{len(self.clients)} of {self.total} clients are shown, evenly spaced"


def summarise_partitions(runs: list[FinishedRun]) -> list[PartitionSummary]:
    """Summarise the distinct partitions of the runs, but for those without a file."""
    first: dict[str, FinishedRun] = {}
    for run in runs:
        if (run.folder / "partition.npz").exists():
            first.setdefault(run.summary.get("partition_sha256", str(run.folder)), run)
    found = list(first.values())
    settings = [resolved_settings(run, runs) for run in found]
    rows = [{k: v for k, v in row.items() if _is_relevant(k)} for row in settings]
    names = labels(rows) if len(rows) > 1 else [""] * len(rows)
    parts = (_summary(run, name) for run, name in zip(found, names, strict=True))
    return [part for part in parts if part is not None]


def _is_relevant(key: str) -> bool:
    return key.split(".")[0].split("@")[0] in DEPENDS_ON


def _summary(run: FinishedRun, label: str) -> PartitionSummary | None:
    with np.load(run.folder / "partition.npz") as file:
        if not {"sizes", "label_histogram"} <= set(file):
            return None
        sizes, counts = file["sizes"], file["label_histogram"]
        # Left out where many clients share nothing.
        overlap = file["overlap_matrix"] if "overlap_matrix" in file else np.diag(sizes[:0])
    total = len(sizes)
    clients = evenly(total, MOST_CLIENTS)
    between = overlap.sum() - np.trace(overlap)
    held = np.where(sizes > 0, sizes, np.nan)[clients, None]
    shared = overlap[np.ix_(clients, clients)] / held if between else None
    copies = int(run.summary.get("redundant_examples", 0))
    return PartitionSummary(label, clients, counts[clients], shared, total, copies)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of the numbers below `count`, in equal steps from 0.

    >>> evenly(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.arange(0, count, max(1, ceil(count / most)), dtype=np.int64)
