"""Formats and lengths of a run's messages, computed once.

Both ends of a link derive it from the strategy, so it never travels. Ledger, clock, wire and
Flower count with the same lengths.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.objective.gradients import Batch, Everything, Gradients, Own, StepGradient
from fedlocal.rounds.client import Client, ClientState, Inbox, Upload, Work
from fedlocal.rounds.server import ServerState
from fedlocal.rounds.wire import dense_layout, each_nbytes, nbytes, optional_nbytes
from fedlocal.slots import Compressor, Field, Strategy, Timing
from fedlocal.utils.arrays import IntArray
from fedlocal.utils.threads import in_threads
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.rng import Purpose, generator
from fedlocal.vectors.trees import Tree, tree_map

# Uniforms that a thread draws at a time.
PIECE = 1 << 18


class Format(NamedTuple):
    """Format of one kind of message.

    sample: Tensors of its shapes and dtypes. layout: A Field for each. nbytes: Its length with all
    optional parts. shortest: Its length without them.
    """

    sample: Tree
    layout: Tree
    nbytes: int
    shortest: int


class MessageFormats(NamedTuple):
    """Formats of a run's messages.

    upload: One client's. change, whole: The broadcast to those who hold the last anchor, and to
    the others; they are equal where the encoded change would be no shorter than the anchor (a
    compressor with indices may be longer). model: A vector [P] as it is, of a model or a gradient.
    flag: A yes or no. shared: Whether all clients share one anchor row.
    """

    upload: Format
    change: Format
    whole: Format
    model: Format
    flag: Format
    shared: bool

    @property
    def has_changes(self) -> bool:
        """Whether a change is ever sent: it must be shorter than the anchor."""
        return self.change.nbytes < self.whole.nbytes

    def upload_nbytes(self, uploads: Upload) -> IntArray:
        """Length of each upload, every tensor [S, ...]: message, reports and header, [S]."""
        form, count = self.upload, len(uploads.loss)
        if form.shortest == form.nbytes:
            return np.full(count, form.nbytes)
        dtype = self.model.sample.dtype
        return each_nbytes(upload_parts(uploads), form.layout, dtype, count)

    def broadcast_nbytes(self, current: NDArray[np.bool_]) -> IntArray:
        """Length of the broadcast to each client, [S].

        Args:
            current: Whether each client holds the anchor before the change, [S]. The others are
                sent the anchor itself: a change is of no use to them.
        """
        return np.where(current, self.change.nbytes, self.whole.nbytes)


def message_formats(
    strategy: Strategy, personal: ParamSpec | None, state: ClientState, server: ServerState
) -> MessageFormats:
    """Formats of a run's messages, from one client's round without data.

    Args:
        strategy: Bound to the model's layers.
        personal: Layout of the personal parameters; None if the model has none.
        state: State of a client that has not taken part yet.
        server: The server's state before the first round.
    """
    x, controls = server.anchor[0], server_controls(server)
    upload = upload_parts(_sample_upload(strategy, personal, state, server))
    noise = x.new_zeros(strategy.downlink.noise_size(len(x)))
    change, _ = strategy.downlink.encode(torch.zeros_like(x), strategy.downlink.init(x), noise)

    def form(sample: Tree, layout: Tree) -> Format:
        longest = nbytes(layout, x.dtype)
        return Format(sample, layout, longest, longest - optional_nbytes(layout, x.dtype))

    shortened = form((change, controls), (strategy.downlink.layout(len(x)), dense_layout(controls)))
    whole = form((x, controls), dense_layout((x, controls)))
    return MessageFormats(
        upload=form(upload, (strategy.uplink.layout(len(x)), dense_layout(upload[1]))),
        change=shortened if shortened.nbytes < whole.nbytes else whole,
        whole=whole,
        model=form(x, dense_layout(x)),
        flag=form(x.new_zeros(1, dtype=torch.uint8), Field(1, bits=1)),
        # Without a barrier each client has read its own version of the anchor.
        shared=len(server.anchor) == 1 and strategy.timing is not Timing.ASYNCHRONOUS,
    )


def upload_parts(upload: Upload) -> Tree:
    """The tensors of an upload that travel in its body."""
    return upload.message, (upload.inner, upload.correction, upload.buffers)


def server_controls(server: ServerState) -> Tree:
    """The tensors that are broadcast in full beside the anchor."""
    return server.inner, server.correction, server.buffers


def _sample_upload(
    strategy: Strategy, personal: ParamSpec | None, state: ClientState, server: ServerState
) -> Upload:
    """One client's upload with nothing in it: shapes and dtypes are those of every other."""
    x = server.anchor[0]

    def gradient(point: Tensor, own: Own, batch: Batch) -> StepGradient:
        zeros = torch.zeros_like(point), tree_map(torch.zeros_like, own.personal)
        return StepGradient(*zeros, point.new_zeros(()), own.buffers)

    one = torch.zeros((1, 1), dtype=torch.int64, device=x.device)
    work = Work(
        indices=one,
        mask=(),
        active=(),
        rates=x.new_ones(1),
        noise=x.new_zeros(strategy.uplink.noise_size(len(x))),
        everything=Everything(one) if strategy.correction.reads_all_data else (),
    )
    inbox = Inbox(x, server.inner, server.correction, server.buffers)
    client = Client(strategy, Gradients(gradient, gradient), personal)
    return client.round(state, inbox, work)[1]


def link_noise(
    link: Compressor, purpose: Purpose, rows: np.ndarray, round_index: int, seed: int, like: Tensor
) -> Tensor:
    """Uniforms in [0, 1) for the messages of some clients (or anchor rows), [rows, n].

    Args:
        link: Says how many a message needs.
        purpose: The link's direction.
        rows: Client ids, or rows of the anchor.
        round_index: The round, from 0.
        seed: The run's.
        like: A model [P]; gives size, dtype and device.
    """
    # Drawn in the run's own precision: rounding a double down to it may give 1.
    dtype = np.float64 if like.dtype == torch.float64 else np.float32
    draws = np.empty((len(rows), link.noise_size(len(like))), dtype)

    def draw(job: tuple[int, int]) -> None:
        row, first = job
        skip = first * draws.itemsize // 32
        rng = generator(seed, purpose, int(rows[row]), round_index, skip)
        rng.random(out=draws[row, first : first + PIECE], dtype=dtype)  # type: ignore[call-overload]

    pieces = range(0, draws.shape[1], PIECE)
    if draws.size:
        in_threads(draw, [(row, first) for row in range(len(rows)) for first in pieces], draws.size)
    return torch.from_numpy(draws).to(like.device)
