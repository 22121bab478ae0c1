"""How many bytes a round brings to and from each client it invites."""

import torch
from torch import Tensor

from fedlocal.data.clients import IntArray, among
from fedlocal.objective.gradients import Batch, Everything, Gradients, Own, StepGradient
from fedlocal.rounds.client import Client, Inbox, Upload, Work
from fedlocal.rounds.ledger import RoundRecord, downlink_nbytes, uplink_layout
from fedlocal.rounds.server import ServerState
from fedlocal.rounds.state import Order, RunState, Simulation
from fedlocal.rounds.wire import dense_layout, nbytes
from fedlocal.slots import Field
from fedlocal.vectors.trees import tree_map


def traffic(
    sim: Simulation, state: RunState, order: Order, uploads: IntArray
) -> tuple[IntArray, IntArray]:
    """Bytes up and down of each of the invited, both [I], given the lengths of the uploads [I]."""
    strategy, like = sim.strategy, sim.start
    up, down = uploads, downlink_nbytes(strategy, state.server, order.current)
    if strategy.correction.surveys:
        # The first exchange: a model to all that are invited, a gradient from those who answer.
        vector = nbytes(dense_layout(like), like.dtype)
        up, down = up + vector * among(order.invited, order.members), down + vector
    links = strategy.mixing.links(state.round_index, len(sim.clients))
    if links is not None:
        # Clients talk to each other: what one sends, its neighbours receive, and nobody else.
        up, down = links.sum(1) * up, up @ links
    return up, down


def polled(sim: Simulation, before: RunState, after: RunState, record: RoundRecord) -> RoundRecord:
    """The record with the messages that were really sent, where the mixing decides which are."""
    legs = sim.strategy.mixing.legs(before.server.mixing, after.server.mixing)
    if legs is None:
        return record
    word, model = (
        nbytes(layout, sim.start.dtype) for layout in (Field(1, bits=1), dense_layout(sim.start))
    )
    return record._replace(
        uplink_bytes=(legs.words_up * word + legs.models_up * model)[record.clients],
        downlink_bytes=(legs.words_down * word + legs.models_down * model)[record.clients],
    )


def largest_upload(sim: Simulation, server: ServerState) -> int:
    """Length of an upload with all of its optional parts."""
    layout = uplink_layout(sim.strategy, sample_upload(sim, server), len(sim.start))
    return nbytes(layout, sim.start.dtype)


def sample_upload(sim: Simulation, server: ServerState) -> Upload:
    """One client's upload with nothing in it: shapes and dtypes are those of every other."""
    strategy, x = sim.strategy, sim.start

    def gradient(point: Tensor, own: Own, batch: Batch) -> StepGradient:
        zeros = torch.zeros_like(point), tree_map(torch.zeros_like, own.personal)
        return StepGradient(*zeros, point.new_zeros(()), own.buffers)

    one = torch.zeros((1, 1), dtype=torch.int64, device=x.device)
    reads_all = strategy.correction.reads_all_data
    work = Work(
        indices=one,
        mask=(),
        active=(),
        rates=x.new_ones(1),
        noise=x.new_zeros(strategy.uplink.noise_size(len(x))),
        everything=Everything(one) if reads_all else (),
    )
    inbox = Inbox(server.anchor[0], server.inner, server.correction, server.buffers)
    client = Client(strategy, Gradients(gradient, gradient), sim.personal)
    return client.round(sim.fresh_client(), inbox, work)[1]
