"""Who holds what: the pictures of a run's partition.npz."""

from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlocal.report.groups import resolved_settings
from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import labels

# More rows than this cannot be told apart.
MOST_CLIENTS = 100
MOST_PICTURES = 40
# What a partition depends on; of other settings its name says nothing.
DECIDE = ("K", "seed", "partition", "dataset")


class Holdings(NamedTuple):
    """A partition, or some of the clients of a large one.

    Attributes:
        label: What tells it from the other partitions.
        clients: Which clients are shown, [S].
        counts: Examples of each class at each of them, [S, C].
        shared: Share of the examples of one (row) that another (column) holds too, [S, S]; nan for
            a client without examples. None where no two clients of all share any.
        total: Number of clients, K.
        copies: Number of examples that are held more than once, counted beyond the first.
    """

    label: str
    clients: NDArray[np.int64]
    counts: NDArray[np.int64]
    shared: NDArray[np.float64] | None
    total: int
    copies: int

    @property
    def note(self) -> str:
        """What is left out, in words; "" if nothing is."""
        if len(self.clients) == self.total:
            return ""
        return f"{len(self.clients)} of {self.total} clients are shown, evenly spaced"


def holdings_of(runs: list[FinishedRun]) -> list[Holdings]:
    """The distinct partitions of the runs; those whose file is missing are left out."""
    first: dict[str, FinishedRun] = {}
    for run in runs:
        if (run.folder / "partition.npz").exists():
            first.setdefault(run.summary.get("partition_sha256", str(run.folder)), run)
    found = list(first.values())
    settings = [resolved_settings(run, runs) for run in found]
    rows = [{k: v for k, v in row.items() if _decides(k)} for row in settings]
    names = labels(rows) if len(rows) > 1 else [""] * len(rows)
    parts = (_holdings(run, name) for run, name in zip(found, names, strict=True))
    return [part for part in parts if part is not None]


def _decides(key: str) -> bool:
    return key.split(".")[0].split("@")[0] in DECIDE


def _holdings(run: FinishedRun, label: str) -> Holdings | None:
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
    return Holdings(label, clients, counts[clients], shared, total, copies)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers below `count`, in equal steps from 0.

    >>> evenly(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.arange(0, count, max(1, ceil(count / most)), dtype=np.int64)
