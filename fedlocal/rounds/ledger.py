"""The ledger: bytes and local steps of every client in every round.

A clock computes simulated seconds from it, during the run, or later with other compute times.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedlocal.utils.arrays import IntArray

# Fields of a record with one number per member.
BY_MEMBER = ("clients", "steps", "uplink_bytes", "downlink_bytes")


class RoundRecord(NamedTuple):
    """Bytes and local steps of one round's cohort; every array is [S].

    steps and uplink_bytes are 0 for a client that did not answer. In decentralised methods bytes
    are those of all links of a client. overlapped: Whether messages travel while clients compute.
    lasts: Bounds of the round's length in seconds: the wait for late members, and the deadline.
    """

    round_index: int
    clients: IntArray
    steps: IntArray
    uplink_bytes: IntArray
    downlink_bytes: IntArray
    overlapped: bool = False
    lasts: tuple[float, float] = (0.0, inf)


@dataclass(frozen=True)
class Ledger:
    """Records of a run."""

    records: tuple[RoundRecord, ...] = ()

    @property
    def uplink_bytes(self) -> int:
        """Total bytes that clients sent."""
        return int(sum(record.uplink_bytes.sum() for record in self.records))

    @property
    def downlink_bytes(self) -> int:
        """Total bytes that clients received."""
        return int(sum(record.downlink_bytes.sum() for record in self.records))


def save_ledger(ledger: Ledger, path: Path) -> None:
    """Write the records as npz, with the members of all rounds concatenated.

    Cohorts may differ in size; `members` [R] holds the size of each round's.
    """
    records = ledger.records
    columns: dict[str, Any] = {
        "round_index": np.array([one.round_index for one in records], dtype=np.int64),
        "members": np.array([len(one.clients) for one in records], dtype=np.int64),
        "overlapped": np.array([one.overlapped for one in records], dtype=np.bool_),
        "lasts": np.array([one.lasts for one in records], dtype=np.float64).reshape(-1, 2),
    }
    columns |= {key: _joined([getattr(one, key) for one in records]) for key in BY_MEMBER}
    np.savez_compressed(path, **columns)


def load_ledger(path: Path) -> Ledger:
    """Read a ledger written by `save_ledger`.

    Raises:
        ValueError: The file has another layout.
    """
    with np.load(path) as file:
        missing = {"round_index", "members", "overlapped", "lasts", *BY_MEMBER} - set(file)
        if missing:
            raise ValueError(
                f"{path} is no ledger: it has no {', '.join(sorted(missing))}; a run's is"
                " ledger.npz in its folder"
            )
        columns = {key: file[key] for key in file}
    parts = [
        slice(end - count, end)
        for end, count in zip(columns["members"].cumsum(), columns["members"], strict=True)
    ]
    rounds = zip(
        columns["round_index"], columns["overlapped"], columns["lasts"], parts, strict=True
    )
    return Ledger(
        tuple(
            RoundRecord(
                int(index),
                *(columns[key][part] for key in BY_MEMBER),
                overlapped=bool(overlapped),
                lasts=tuple(lasts),
            )
            for index, overlapped, lasts, part in rounds
        )
    )


def _joined(parts: list[IntArray]) -> IntArray:
    return np.concatenate(parts) if parts else np.array([], dtype=np.int64)
