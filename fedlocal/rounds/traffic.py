"""How many bytes a round brings to and from each client it invites."""

from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import Order, RunState, Simulation
from fedlocal.utils.arrays import IntArray, isin


def traffic(
    sim: Simulation, state: RunState, order: Order, uploads: IntArray
) -> tuple[IntArray, IntArray]:
    """Bytes up and down of each of the invited, both [I], given the lengths of the uploads [I]."""
    strategy = sim.strategy
    up, down = uploads, sim.messages.broadcast_nbytes(order.current)
    if strategy.correction.surveys:
        # The first exchange: a model to all that are invited, a gradient from those who answer.
        vector = sim.messages.model.nbytes
        up, down = up + vector * isin(order.invited, order.members), down + vector
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
    word, model = sim.messages.flag.nbytes, sim.messages.model.nbytes
    return record._replace(
        uplink_bytes=(legs.words_up * word + legs.models_up * model)[record.clients],
        downlink_bytes=(legs.words_down * word + legs.models_down * model)[record.clients],
    )
