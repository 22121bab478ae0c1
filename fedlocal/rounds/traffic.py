"""Bytes that a round sends to and receives from each invited client."""

from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import RoundPlan, RunState, Simulation
from fedlocal.utils.arrays import IntArray, isin


def traffic(
    sim: Simulation, state: RunState, plan: RoundPlan, uploads: IntArray
) -> tuple[IntArray, IntArray]:
    """Return bytes up and down of each invited client, both [I]; `uploads` [I] holds lengths."""
    strategy = sim.strategy
    up, down = uploads, sim.messages.broadcast_nbytes(plan.current)
    if strategy.correction.needs_gradient_exchange:
        # The gradient exchange: a model to all invited clients, a gradient from each member.
        vector = sim.messages.model.nbytes
        up, down = up + vector * isin(plan.invited, plan.members), down + vector
    links = strategy.mixing.links(state.round_index, len(sim.clients))
    if links is not None:
        # Clients send to their neighbours and not to the server.
        up, down = links.sum(1) * up, up @ links
    return up, down


def count_polled(
    sim: Simulation, before: RunState, after: RunState, record: RoundRecord
) -> RoundRecord:
    """Return the record with the bytes actually sent, where the mixing decides during the round."""
    message_counts = sim.strategy.mixing.message_counts(before.server.mixing, after.server.mixing)
    if message_counts is None:
        return record
    word, model = sim.messages.flag.nbytes, sim.messages.model.nbytes
    return record._replace(
        uplink_bytes=(message_counts.flags_up * word + message_counts.models_up * model)[
            record.clients
        ],
        downlink_bytes=(message_counts.flags_down * word + message_counts.models_down * model)[
            record.clients
        ],
    )
