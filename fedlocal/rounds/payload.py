"""Uploads and broadcasts of a run as bytes, exactly those that the ledger counts."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import Inbox, Upload, broadcast_rows
from fedlocal.rounds.ledger import downlink_layouts, server_controls, uplink_layout, upload_parts
from fedlocal.rounds.noise import link_noise
from fedlocal.rounds.server import init_server
from fedlocal.rounds.state import Order, RunState, Simulation
from fedlocal.rounds.traffic import sample_upload
from fedlocal.rounds.wire import Header, dense_layout, nbytes, optional_nbytes, pack, unpack
from fedlocal.slots import Timing
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import Tree, leaves, take, tree_map


class Formats(NamedTuple):
    """What every message of a run looks like; both ends derive it, so it never travels.

    upload: One client's.
    change, whole: The broadcast to those who hold the last anchor, and to the others.
    model: A client's model, for the evaluation.
    shared: Whether all clients share one anchor row; else each has its own.
    """

    upload: "Format"
    change: "Format"
    whole: "Format"
    model: "Format"
    shared: bool

    @property
    def has_changes(self) -> bool:
        """Whether a change is ever sent: it must be shorter than the anchor."""
        return self.change.nbytes < self.whole.nbytes


class Format(NamedTuple):
    """How one kind of message looks.

    sample: Tensors with its shapes and dtypes. layout: A Field for each. nbytes: Its length, with
    all optional parts. shortest: Without them.
    """

    sample: Tree
    layout: Tree
    nbytes: int
    shortest: int


def formats(sim: Simulation) -> Formats:
    """The formats of a run, from one client's round without data.

    Raises:
        ValueError: The method has messages that no round of two messages holds.
    """
    strategy, x = sim.strategy, sim.start
    if strategy.mixing.polls:
        raise ValueError(
            f"{strategy.mixing} asks for models in the middle of a round, which Flower's messages"
            " do not; its clients can be simulated: runtime=vmapped or runtime=loop"
        )
    if strategy.correction.surveys and sim.averaged != ():
        raise ValueError(
            f"{strategy.correction} asks for gradients before the round, in messages without the"
            " model's buffers; on Flower use buffers=personal, buffers=frozen, or GroupNorm"
        )
    server = init_server(strategy, x, len(sim.clients), sim.averaged)
    controls = server_controls(server)
    upload = sample_upload(sim, server)
    noise = x.new_zeros(strategy.downlink.noise_size(len(x)))
    change, _ = strategy.downlink.encode(torch.zeros_like(x), strategy.downlink.init(x), noise)
    change_layout, whole_layout = downlink_layouts(strategy, server)
    return Formats(
        upload=_format(upload_parts(upload), uplink_layout(strategy, upload, len(x)), x),
        change=_format((change, controls), change_layout, x),
        whole=_format((x, controls), whole_layout, x),
        model=_format(x, dense_layout(x), x),
        # Without a barrier each client has read its own version of the anchor.
        shared=len(server.anchor) == 1 and strategy.timing is not Timing.ASYNCHRONOUS,
    )


def pack_upload(form: Format, upload: Upload, header: Header, dtype: torch.dtype) -> bytes:
    """One client's upload; its loss goes into the header."""
    header = header._replace(loss=float(upload.loss))
    return pack(header, upload_parts(upload), form.layout, dtype)


def unpack_upload(form: Format, data: bytes, client: int, order: Order, like: Tensor) -> Upload:
    """What `pack_upload` packed.

    Raises:
        ValueError: Not a message of this format, or of another client or round, or with values
            that are not finite.
    """
    header, (message, (inner, correction, buffers)) = _open(
        form, data, client, order.round_index, like
    )
    wanted = int(order.steps[order.members == client][0])
    if header.steps != wanted:
        raise ValueError(f"an upload after {wanted} local steps was expected, got {header.steps}")
    loss = torch.tensor(header.loss, dtype=like.dtype, device=like.device)
    upload = Upload(message, inner, correction, loss, buffers)
    if not all(bool(torch.isfinite(leaf).all()) for leaf in leaves(upload)):
        raise ValueError("the upload holds NaN or infinite values: the client's model diverged")
    return upload


def pack_broadcast(form: Formats, sim: Simulation, state: RunState, row: int, whole: bool) -> bytes:
    """The server's broadcast of one anchor row: the row itself, or the change that made it."""
    server = state.server
    controls = server_controls(server)
    header = Header(row, state.round_index)
    if whole:
        model = broadcast_rows(server.anchor, torch.tensor([row], device=sim.start.device))[0]
        return pack(header, (model, controls), form.whole.layout, sim.start.dtype)
    change = take(state.broadcast, row)
    return pack(header, (change, controls), form.change.layout, sim.start.dtype)


def unpack_broadcast(
    form: Formats,
    sim: Simulation,
    data: bytes,
    row: int,
    round_index: int,
    held: Tensor | None,
) -> Inbox:
    """What a client receives; its model is this row of the anchor, [P].

    Args:
        form: The run's formats.
        sim: The run.
        data: What `pack_broadcast` packed.
        row: The anchor row.
        round_index: The round that begins.
        held: The row as it was a round ago, [P], if the message is a change; None if it is whole.
    """
    like = sim.start
    if held is None:
        _, (model, controls) = _open(form.whole, data, row, round_index, like)
        return Inbox(model, *controls)
    _, (message, controls) = _open(form.change, data, row, round_index, like)
    downlink = sim.strategy.downlink
    rows = np.array([row])
    noise = link_noise(downlink, Purpose.DOWNLINK, rows, round_index - 1, sim.seed, like)
    return Inbox(held + downlink.decode(message, noise[0], len(like)), *controls)


def pack_model(form: Format, model: Tensor, client: int, round_index: int) -> bytes:
    """A client's model [P] as it is, for the evaluation."""
    return pack(Header(client, round_index), model, form.layout, model.dtype)


def unpack_model(form: Format, data: bytes, client: int, round_index: int, like: Tensor) -> Tensor:
    """What `pack_model` packed, [P].

    Raises:
        ValueError: Not a message of this format, or of another client or round.
    """
    return _open(form, data, client, round_index, like)[1]


def _open(
    form: Format, data: bytes, sender: int, round_index: int, like: Tensor
) -> tuple[Header, Tree]:
    header, tree = unpack(data, form.layout, like.dtype)
    if (header.client, header.round_index) != (sender, round_index):
        raise ValueError(
            f"a message of {sender} in round {round_index} was expected, got one of"
            f" {header.client} in round {header.round_index}"
        )
    return header, tree_map(
        lambda t, sample: t.reshape(sample.shape).to(sample.dtype).to(like.device),
        tree,
        form.sample,
    )


def _format(sample: Tree, layout: Tree, like: Tensor) -> Format:
    longest = nbytes(layout, like.dtype)
    return Format(sample, layout, longest, longest - optional_nbytes(layout, like.dtype))
