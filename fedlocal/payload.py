"""Uploads and broadcasts of a run as bytes, exactly those that the ledger counts."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import Inbox, Upload, Work, client_round, init_client
from fedlocal.ledger import downlink_layouts, uplink_layout
from fedlocal.noise import link_noise
from fedlocal.rng import Purpose
from fedlocal.server import ServerState, init_server
from fedlocal.simulation import Order, RunState, Simulation
from fedlocal.trees import Tree, leaves, take, tree_map
from fedlocal.wire import Header, dense_layout, nbytes, pack, unpack


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
    """sample: Tensors with the shapes and dtypes of the message. layout: A Field for each."""

    sample: Tree
    layout: Tree
    nbytes: int


def formats(sim: Simulation) -> Formats:
    """The formats of a run, from one client's round without data."""
    strategy, x = sim.strategy, sim.start
    server = init_server(strategy, x, len(sim.clients))
    controls = server.inner, server.correction
    upload = _sample_upload(sim, server)
    noise = x.new_zeros(strategy.downlink.noise_size(len(x)))
    change, _ = strategy.downlink.encode(torch.zeros_like(x), strategy.downlink.init(x), noise)
    change_layout, whole_layout = downlink_layouts(strategy, server)
    return Formats(
        upload=_format(_parts(upload), uplink_layout(strategy, upload, len(x)), x),
        change=_format((change, controls), change_layout, x),
        whole=_format((x, controls), whole_layout, x),
        model=_format(x, dense_layout(x), x),
        shared=len(server.anchor) == 1,
    )


def pack_upload(form: Format, upload: Upload, header: Header, dtype: torch.dtype) -> bytes:
    """One client's upload; its loss goes into the header."""
    header = header._replace(loss=float(upload.loss))
    return pack(header, _parts(upload), form.layout, dtype)


def unpack_upload(form: Format, data: bytes, client: int, order: Order, like: Tensor) -> Upload:
    """What `pack_upload` packed.

    Raises:
        ValueError: Not a message of this format, or of another client or round, or with values
            that are not finite.
    """
    header, (message, (inner, correction)) = _open(form, data, client, order.round_index, like)
    wanted = int(order.steps[order.members == client][0])
    if header.steps != wanted:
        raise ValueError(f"an upload after {wanted} local steps was expected, got {header.steps}")
    loss = torch.tensor(header.loss, dtype=like.dtype, device=like.device)
    upload = Upload(message, inner, correction, loss)
    if not all(bool(torch.isfinite(leaf).all()) for leaf in leaves(upload)):
        raise ValueError("the upload holds NaN or infinite values: the client's model diverged")
    return upload


def pack_broadcast(form: Formats, sim: Simulation, state: RunState, row: int, whole: bool) -> bytes:
    """The server's broadcast of one anchor row: the row itself, or the change that made it."""
    server = state.server
    controls = server.inner, server.correction
    header = Header(row, state.round_index)
    if whole:
        return pack(header, (server.anchor[row], controls), form.whole.layout, sim.start.dtype)
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
    return Format(sample, layout, nbytes(layout, like.dtype))


def _parts(upload: Upload) -> Tree:
    return upload.message, (upload.inner, upload.correction)


def _sample_upload(sim: Simulation, server: ServerState) -> Upload:
    strategy, x = sim.strategy, sim.start

    def gradient(point: Tensor, indices: Tensor, mask: Tree) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(point), point.new_zeros(())

    noise = x.new_zeros(strategy.uplink.noise_size(len(x)))
    step = torch.zeros((1, 1), dtype=torch.int64, device=x.device)
    work = Work(step, (), (), x.new_ones(1), noise)
    inbox = Inbox(server.anchor[0], server.inner, server.correction)
    return client_round(strategy, gradient, init_client(strategy, x), inbox, work)[1]
