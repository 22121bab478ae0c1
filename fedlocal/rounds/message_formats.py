"""Formats and lengths of a run's messages, computed once.

Both ends of a link derive them from the strategy, so they are not transmitted. Ledger, clock,
`message_bytes` and Flower use the same lengths.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.objective.gradients import Batch, Everything, Gradients, Own, StepGradient
from fedlocal.rounds.client import Client, ClientState, Inbox, PaddedWork, Upload
from fedlocal.rounds.message_bytes import dense_layout, each_nbytes, nbytes, optional_nbytes
from fedlocal.rounds.server import ServerState
from fedlocal.slots import Compressor, Field, Strategy, Timing
from fedlocal.utils.arrays import IntArray
from fedlocal.utils.threads import run_in_threads
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.rng import Purpose, generator
from fedlocal.vectors.trees import Tree, tree_map

# Number of uniforms that a thread draws at a time.
PIECE = 1 << 18


class Format(NamedTuple):
    """Format of one kind of message.

    sample: Tensors of its shapes and dtypes. layout: A Field for each. nbytes: Length with all
    optional parts. shortest: Length without them.
    """

    sample: Tree
    layout: Tree
    nbytes: int
    shortest: int


class MessageFormats(NamedTuple):
    """Formats of a run's messages.

    upload: Upload of one client. change: Broadcast to clients that hold the previous anchor.
    whole: Broadcast to the others; equal to `change` where the encoded change would be no shorter
    (a compressor with indices may be longer). model: An uncompressed vector [P], of a model or a
    gradient. flag: A one-bit message. shared: Whether all clients share one anchor row.
    """

    upload: Format
    change: Format
    whole: Format
    model: Format
    flag: Format
    shared: bool

    @property
    def has_changes(self) -> bool:
        """Whether changes are sent at all: they must be shorter than the anchor."""
        return self.change.nbytes < self.whole.nbytes

    def upload_nbytes(self, uploads: Upload) -> IntArray:
        """Return the length of each upload in bytes, [S]; every tensor of `uploads` is [S, ...]."""
        form, count = self.upload, len(uploads.loss)
        if form.shortest == form.nbytes:
            return np.full(count, form.nbytes)
        dtype = self.model.sample.dtype
        return each_nbytes(upload_parts(uploads), form.layout, dtype, count)

    def broadcast_nbytes(self, current: NDArray[np.bool_]) -> IntArray:
        """Return the length of the broadcast to each client in bytes, [S].

        Args:
            current: Whether each client holds the previous anchor, [S]. The others are sent the
                anchor itself.
        """
        return np.where(current, self.change.nbytes, self.whole.nbytes)


def message_formats(
    strategy: Strategy, personal: ParamSpec | None, state: ClientState, server: ServerState
) -> MessageFormats:
    """Compute the formats of a run's messages from one client's round without data.

    Args:
        strategy: Strategy, bound to the model's layers.
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
    """Return the tensors of an upload that travel in its body."""
    return upload.message, (upload.inner, upload.correction, upload.buffers)


def server_controls(server: ServerState) -> Tree:
    """Return the tensors that are broadcast uncompressed beside the anchor."""
    return server.inner, server.correction, server.buffers


def _sample_upload(
    strategy: Strategy, personal: ParamSpec | None, state: ClientState, server: ServerState
) -> Upload:
    """Return an upload of zeros, with the shapes and dtypes of every upload."""
    x = server.anchor[0]

    def gradient(point: Tensor, own: Own, batch: Batch) -> StepGradient:
        zeros = torch.zeros_like(point), tree_map(torch.zeros_like, own.personal)
        return StepGradient(*zeros, point.new_zeros(()), own.buffers)

    one = torch.zeros((1, 1), dtype=torch.int64, device=x.device)
    work = PaddedWork(
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
    """Draw uniforms in [0, 1) for the messages of some clients (or anchor rows), [rows, n].

    Args:
        link: Compressor; its `noise_size` is n.
        purpose: Direction of the link.
        rows: Client ids, or rows of the anchor.
        round_index: Round, from 0.
        seed: Seed of the run.
        like: A model [P] with the size, dtype and device of the run.
    """
    # Drawn in the run's own precision: a double below 1 may round to 1.
    dtype = np.float64 if like.dtype == torch.float64 else np.float32
    draws = np.empty((len(rows), link.noise_size(len(like))), dtype)

    def draw(job: tuple[int, int]) -> None:
        row, first = job
        skip = first * draws.itemsize // 32
        rng = generator(seed, purpose, int(rows[row]), round_index, skip)
        rng.random(out=draws[row, first : first + PIECE], dtype=dtype)  # type: ignore[call-overload]

    blocks = range(0, draws.shape[1], PIECE)
    if draws.size:
        run_in_threads(
            draw, [(row, first) for row in range(len(rows)) for first in blocks], draws.size
        )
    return torch.from_numpy(draws).to(like.device)
