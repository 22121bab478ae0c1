"""The ledger: what every round sent and computed, in the clients' own numbers.

A clock turns these records into simulated seconds, now or again later under another law.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.clients import IntArray
from fedlocal.rounds.client import Upload
from fedlocal.rounds.server import ServerState
from fedlocal.rounds.wire import dense_layout, each_nbytes, nbytes
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, take


class RoundRecord(NamedTuple):
    """One round as its cohort saw it; every array is [S].

    steps and uplink_bytes are 0 for a client that did not answer. Where clients talk to each
    other, bytes are those of all links of theirs. overlapped: Whether messages travel while
    clients compute. lasts: Bounds of its length in seconds: what somebody late or cut short makes
    the others wait, and the deadline.
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


def uplink_nbytes(strategy: Strategy, uploads: Upload, like: Tensor) -> IntArray:
    """Length of each upload on the wire, [S]: message, reports and header.

    Args:
        strategy: Whose uplink encodes the message.
        uploads: Of S clients, every tensor [S, ...].
        like: A model [P]; gives size and dtype.
    """
    layout = uplink_layout(strategy, take(uploads, 0), len(like))
    return each_nbytes(upload_parts(uploads), layout, like.dtype, len(uploads.loss))


def upload_parts(upload: Upload) -> Tree:
    """The tensors of an upload that travel in its body."""
    return upload.message, (upload.inner, upload.correction, upload.buffers)


def uplink_layout(strategy: Strategy, upload: Upload, size: int) -> Tree:
    """Layout of one client's upload: its message, and its reports in full."""
    return strategy.uplink.layout(size), dense_layout(upload_parts(upload)[1])


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
    change, whole = (
        nbytes(each, server.anchor.dtype) for each in downlink_layouts(strategy, server)
    )
    return np.where(current, change, whole)


def server_controls(server: ServerState) -> Tree:
    """The tensors that are broadcast in full beside the anchor."""
    return server.inner, server.correction, server.buffers


def downlink_layouts(strategy: Strategy, server: ServerState) -> tuple[Tree, Tree]:
    """Layouts of the broadcast to those who hold the last anchor, and to the others.

    They are equal where the encoded change would be no shorter than the anchor itself (a
    compressor with indices may be longer): then everybody is sent the anchor.
    """
    controls = dense_layout(server_controls(server))
    change = strategy.downlink.layout(server.anchor.shape[1]), controls
    whole = dense_layout(server.anchor[0]), controls
    dtype = server.anchor.dtype
    return (change if nbytes(change, dtype) < nbytes(whole, dtype) else whole), whole
