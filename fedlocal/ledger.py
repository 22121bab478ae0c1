"""The ledger: what every round sent and computed, in the clients' own numbers.

A clock turns these records into simulated seconds, now or again later under another law.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.client import Upload
from fedlocal.clients import IntArray
from fedlocal.server import ServerState
from fedlocal.strategy import Strategy
from fedlocal.trees import take
from fedlocal.wire import dense_layout, nbytes


class RoundRecord(NamedTuple):
    """One round as its cohort saw it; every array is [S].

    steps and uplink_bytes are 0 for a client that did not answer.
    """

    round_index: int
    clients: IntArray
    steps: IntArray
    uplink_bytes: IntArray
    downlink_bytes: IntArray


@dataclass(frozen=True)
class Ledger:
    """All records of a run so far."""

    records: tuple[RoundRecord, ...] = ()

    @property
    def uplink_bytes(self) -> int:
        """Bytes that clients sent, in all."""
        return int(sum(record.uplink_bytes.sum() for record in self.records))

    @property
    def downlink_bytes(self) -> int:
        """Bytes that clients received, in all."""
        return int(sum(record.downlink_bytes.sum() for record in self.records))


def uplink_nbytes(strategy: Strategy, uploads: Upload, size: int, dtype: torch.dtype) -> int:
    """Length of one client's upload on the wire: message, reports and header."""
    reports = take((uploads.inner, uploads.correction), 0)
    return nbytes((strategy.uplink.layout(size), dense_layout(reports)), dtype)


def downlink_nbytes(
    strategy: Strategy, server: ServerState, current: NDArray[np.bool_]
) -> IntArray:
    """Length of the broadcast to each client, [S].

    Args:
        strategy: Whose downlink encodes the change of the anchor.
        server: Its anchor gives the size, its controls travel in full.
        current: Whether each client holds the anchor before the change, [S]. The others are sent
            the anchor itself: a change is of no use to them.
    """
    size, dtype = server.anchor.shape[1], server.anchor.dtype
    controls = dense_layout((server.inner, server.correction))
    change = nbytes((strategy.downlink.layout(size), controls), dtype)
    dense = nbytes((dense_layout(server.anchor[0]), controls), dtype)
    # A compressor with indices may be longer than the vector; then the vector is sent.
    return np.where(current, min(change, dense), dense)
