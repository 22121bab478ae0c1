"""Updates in flight of an asynchronous run.

A client's computation depends on the model it read and on its own number of exchanges only. Updates
in flight are therefore computed in one batch, when the first of them arrives.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.rounds.client import broadcast_rows
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.population import train
from fedlocal.rounds.state import Order, RunState, Simulation, local_steps
from fedlocal.rounds.training import Turns
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, take


class Flight(NamedTuple):
    """Clients in flight; every array is [K], and tables have K rows.

    arrives: Simulated second at which each client's update arrives.
    exchanges: Exchanges of all clients so far, [].
    read: Number of exchanges the server had seen when each client read its model.
    done, taken: Exchanges and local steps that each client has completed.
    steps: Local steps of the current exchange.
    models: Models that the clients read, [P] each.
    computed: Whether a client's update is computed already.
    messages: Each client's upload and the uniforms it was encoded with, a table; () before the
        first.
    """

    arrives: NDArray[np.float64]
    exchanges: int
    read: IntArray
    done: IntArray
    taken: IntArray
    steps: IntArray
    models: ClientTable
    computed: NDArray[np.bool_]
    messages: Tree


def take_off(sim: Simulation, state: RunState) -> RunState:
    """Let every client read the first anchor and start."""
    count = len(sim.clients)
    zeros, everyone = np.zeros(count, dtype=np.int64), np.arange(count)
    flight = Flight(
        arrives=np.zeros(count),
        exchanges=0,
        read=zeros,
        done=zeros,
        taken=zeros,
        steps=zeros,
        models=ClientTable.of(state.server.anchor[0], count),
        computed=np.zeros(count, dtype=bool),
        messages=(),
    )
    state = state._replace(flight=flight)
    for client in everyone:
        state = departed(sim, state, int(client))
    return state


def order_for(flight: Flight, members: IntArray) -> Order:
    """Return the order of members with equal numbers of completed exchanges and steps."""
    return Order(
        round_index=int(flight.done[members[0]]),
        first_step=int(flight.taken[members[0]]),
        invited=members,
        members=members,
        steps=flight.steps[members],
        current=np.zeros(len(members), dtype=bool),
    )


def computed(sim: Simulation, state: RunState) -> Turns[RunState]:
    """Compute all updates in flight that are not computed yet."""
    flight: Flight = state.flight
    waiting = np.flatnonzero(~flight.computed)
    behind = np.stack([flight.done[waiting], flight.taken[waiting]], axis=1)
    _, group = np.unique(behind, axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        state = yield from _trained(sim, state, waiting[group.reshape(-1) == number])
    flight = state.flight
    return state._replace(flight=flight._replace(computed=np.ones_like(flight.computed)))


def _trained(sim: Simulation, state: RunState, members: IntArray) -> Turns[RunState]:
    flight: Flight = state.flight
    # Each client works on the model that it read, not on the server's current one.
    order = order_for(flight, members)
    as_read = state._replace(
        round_index=order.round_index,
        server=state.server._replace(anchor=flight.models.everyone()),
    )
    clients, answers = yield from train(sim, as_read, order)
    fresh = answers.uploads, answers.noise
    known = flight.messages
    if known == ():
        known = ClientTable.of(take(fresh, 0), len(sim.clients))
    flight = flight._replace(messages=known.put(members, fresh))
    return state._replace(clients=clients, flight=flight)


def landed(state: RunState, who: int) -> RunState:
    """Count one exchange, of this client."""
    flight: Flight = state.flight
    one = np.arange(len(flight.done)) == who
    after = flight._replace(
        exchanges=flight.exchanges + 1,
        done=flight.done + one,
        taken=flight.taken + one * flight.steps,
    )
    return state._replace(flight=after)


def departed(sim: Simulation, state: RunState, who: int) -> RunState:
    """Let the client read the server's model and start."""
    flight: Flight = state.flight
    one = np.arange(len(flight.done)) == who
    ids = torch.tensor([who], device=sim.start.device)
    steps = int(local_steps(sim, state.period, int(flight.done[who]), np.array([who]))[0])
    row = broadcast_rows(state.server.anchor, ids)
    after = flight._replace(
        arrives=flight.arrives + one * _away(sim, state, who, steps),
        read=np.where(one, flight.exchanges, flight.read),
        steps=np.where(one, steps, flight.steps),
        models=flight.models.put(np.array([who]), row),
        computed=flight.computed & ~one,
    )
    return state._replace(flight=after)


def _away(sim: Simulation, state: RunState, who: int, steps: int) -> float:
    """Return the seconds until its update arrives: broadcast, local steps, upload."""
    ids, up, down = np.array([who]), sim.messages.upload.nbytes, sim.messages.whole.nbytes
    travel = sum(sim.clock.travel_seconds(ids, np.array([n]))[0] for n in (down, up))
    done = int(state.flight.done[who])
    return float(travel + sim.clock.compute_seconds(ids, np.array([steps]), done, sim.seed)[0])
