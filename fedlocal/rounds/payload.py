"""Uploads and broadcasts as bytes, exactly those that the ledger counts.

Personal parameters are not among them: `objective/model.py` splits them off at construction.
"""

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import Inbox, Upload, broadcast_rows
from fedlocal.rounds.message_bytes import Header, pack, unpack
from fedlocal.rounds.message_formats import Format, link_noise, server_controls, upload_parts
from fedlocal.rounds.state import RoundPlan, RunState, Simulation
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import Tree, leaves, take, tree_map


def check_messages(sim: Simulation) -> None:
    """Raise ValueError if a round of the strategy needs other messages than broadcast and upload.

    The exchange of gradients (`Correction.needs_gradient_exchange`) exists on Flower.
    """
    strategy = sim.strategy
    if strategy.mixing.polls:
        raise ValueError(
            f"{strategy.mixing} requests models in the middle of a round, which is not supported on"
            " Flower; use runtime=vmapped or runtime=loop"
        )
    if strategy.correction.needs_gradient_exchange and sim.averaged_buffers != ():
        raise ValueError(
            f"{strategy.correction} asks for gradients before the round, in messages without the"
            " model's buffers; on Flower use buffers=personal, buffers=frozen, or GroupNorm"
        )


def pack_upload(form: Format, upload: Upload, header: Header, dtype: torch.dtype) -> bytes:
    """Pack one client's upload; its loss goes into the header."""
    header = header._replace(loss=float(upload.loss))
    return pack(header, upload_parts(upload), form.layout, dtype)


def unpack_upload(form: Format, data: bytes, client: int, plan: RoundPlan, like: Tensor) -> Upload:
    """Unpack an upload packed by `pack_upload`.

    Raises:
        ValueError: Another format, client or round, or values that are not finite.
    """
    header, (message, (inner, correction, buffers)) = _open(
        form, data, client, plan.round_index, like
    )
    wanted = int(plan.steps[plan.members == client][0])
    if header.steps != wanted:
        raise ValueError(f"an upload after {wanted} local steps was expected, got {header.steps}")
    loss = torch.tensor(header.loss, dtype=like.dtype, device=like.device)
    upload = Upload(message, inner, correction, loss, buffers)
    if not all(bool(torch.isfinite(leaf).all()) for leaf in leaves(upload)):
        raise ValueError("the upload holds NaN or infinite values: the client's model diverged")
    return upload


def pack_broadcast(sim: Simulation, state: RunState, row: int, whole: bool) -> bytes:
    """Pack the broadcast of one anchor row: the row itself, or its change since the last round."""
    server, form = state.server, sim.messages
    controls = server_controls(server)
    header = Header(row, state.round_index)
    if whole:
        model = broadcast_rows(server.anchor, torch.tensor([row], device=sim.start.device))[0]
        return pack(header, (model, controls), form.whole.layout, sim.start.dtype)
    change = take(state.broadcast, row)
    return pack(header, (change, controls), form.change.layout, sim.start.dtype)


def unpack_broadcast(
    sim: Simulation, data: bytes, row: int, round_index: int, held: Tensor | None
) -> Inbox:
    """Return what a client receives; its model is this row of the anchor, [P].

    Args:
        sim: The run.
        data: What `pack_broadcast` packed.
        row: The anchor row.
        round_index: The round that begins.
        held: The row as it was a round ago, [P], if the message is a change; None if it is whole.
    """
    like, form = sim.start, sim.messages
    if held is None:
        _, (model, controls) = _open(form.whole, data, row, round_index, like)
        return Inbox(model, *controls)
    _, (message, controls) = _open(form.change, data, row, round_index, like)
    downlink = sim.strategy.downlink
    rows = np.array([row])
    noise = link_noise(downlink, Purpose.DOWNLINK, rows, round_index - 1, sim.seed, like)
    return Inbox(held + downlink.decode(message, noise[0], len(like)), *controls)


def pack_model(form: Format, model: Tensor, client: int, round_index: int) -> bytes:
    """Pack a client's uncompressed model [P], for the evaluation."""
    return pack(Header(client, round_index), model, form.layout, model.dtype)


def unpack_model(form: Format, data: bytes, client: int, round_index: int, like: Tensor) -> Tensor:
    """Unpack a model [P] packed by `pack_model`.

    Raises:
        ValueError: Another format, client or round.
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
