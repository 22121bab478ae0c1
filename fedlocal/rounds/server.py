"""The server's round: from the cohort's uploads to the next broadcast."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.rounds.client import Upload
from fedlocal.slots import Compressor, Round
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, each_row, weighted_mean


class ServerState(NamedTuple):
    """What the server keeps between rounds, one field per slot that keeps anything.

    anchor: [A, P], exactly the model(s) that clients hold after they received the broadcast; A is
    1 where all clients share it and K where each has its own row.
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
    """State before the first round, from the initial model x [P] and its averaged buffers."""
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
    """Decode, mix, take the outer step, encode the move of the anchor.

    Args:
        strategy: The filled slots.
        state: The server's state before the round.
        uploads: What the cohort sent, every tensor [S, ...].
        clients: The cohort's client ids, [S].
        uplink_noise: The uniforms each member encoded with, [S, n].
        downlink_noise: Uniforms for the broadcast, [A, m].
        info: The cohort's weights and fraction, and the step size that was applied.

    Returns:
        The next state and the broadcast's message, every tensor [A, ...].
    """
    size = state.anchor.shape[1]
    received = _decode(strategy.uplink, uploads.message, uplink_noise, size)
    move, mixing = strategy.mixing.mix(state.mixing, state.anchor, received, clients, info)
    move, outer = strategy.outer.step(-move, state.outer, info)
    message, downlink = each_row(strategy.downlink.encode)(move, state.downlink, downlink_noise)
    change = _decode(strategy.downlink, message, downlink_noise, size)
    correction = strategy.correction.combine(state.correction, uploads.correction, received, info)
    return (
        ServerState(
            # Not the move: a lossy broadcast must leave both sides with the same model.
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
    """The vectors [R, size] in R messages."""
    return each_row(partial(link.decode, size=size))(messages, noise)
