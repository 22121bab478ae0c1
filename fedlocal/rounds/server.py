"""The server's round: from the cohort's uploads to the next broadcast."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.rounds.client import Upload
from fedlocal.slots import Compressor, Round
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, map_rows, weighted_mean


class ServerState(NamedTuple):
    """State of the server between rounds, one field per slot that keeps any.

    anchor: Models that the clients hold after the broadcast, [A, P]; A is 1 where all clients share
        one, and K where each has its own row.
    buffers: Averaged buffers of the model, [B]; () where none are averaged.
    """

    anchor: Tensor
    inner: Tree
    correction: Tree
    mixing: Tree
    outer: Tree
    downlink: Tree
    buffers: Tree = ()


def init_server(strategy: Strategy, x: Tensor, num_clients: int, buffers: Tree = ()) -> ServerState:
    """Return the initial state, from the initial model x [P] and its averaged buffers."""
    anchor = strategy.mixing.anchor(x, num_clients)
    return ServerState(
        anchor=anchor,
        inner=strategy.inner.control(x),
        correction=strategy.correction.control(x),
        mixing=strategy.mixing.init(x, num_clients),
        outer=strategy.outer.init(anchor),
        downlink=torch.vmap(strategy.downlink.init)(anchor),
        buffers=buffers,
    )


def server_round(
    strategy: Strategy,
    state: ServerState,
    uploads: Upload,
    clients: Tensor,
    uplink_noise: Tensor,
    downlink_noise: Tensor,
    info: Round,
) -> tuple[ServerState, Tree]:
    """Decode and mix the uploads, take the outer step, and encode the change of the anchor.

    Args:
        strategy: Strategy of the run.
        state: State of the server before the round.
        uploads: Uploads of the cohort, every tensor [S, ...].
        clients: Client ids of the cohort, [S].
        uplink_noise: Uniforms of the uploads, [S, n].
        downlink_noise: Uniforms of the broadcast, [A, m].
        info: Weights and fraction of the cohort, and the applied step size.

    Returns:
        The next state and the message of the broadcast, every tensor [A, ...].
    """
    size = state.anchor.shape[1]
    received = _decode(strategy.uplink, uploads.message, uplink_noise, size)
    move, mixing = strategy.mixing.mix(state.mixing, state.anchor, received, clients, info)
    move, outer = strategy.outer.step(-move, state.outer, info)
    message, downlink = map_rows(strategy.downlink.encode)(move, state.downlink, downlink_noise)
    change = _decode(strategy.downlink, message, downlink_noise, size)
    correction = strategy.correction.combine(state.correction, uploads.correction, received, info)
    return (
        ServerState(
            # Decoded, not `move`: after a lossy broadcast both ends must hold the same model.
            anchor=state.anchor + change,
            inner=strategy.inner.combine(state.inner, uploads.inner, info),
            correction=correction,
            mixing=mixing,
            outer=outer,
            downlink=downlink,
            buffers=weighted_mean(uploads.buffers, info.weights),
        ),
        message,
    )


def _decode(link: Compressor, messages: Tree, noise: Tensor, size: int) -> Tensor:
    """Decode R messages to vectors, [R, size]."""
    return map_rows(partial(link.decode, size=size))(messages, noise)
