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
from fedlocal.rounds.state import RoundPlan, RunState, Simulation, local_steps
from fedlocal.rounds.training_request import Turns
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, take


class InFlight(NamedTuple):
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


def start_all(sim: Simulation, state: RunState) -> RunState:
    """Start every client from the first anchor."""
    count = len(sim.clients)
    zeros, everyone = np.zeros(count, dtype=np.int64), np.arange(count)
    in_flight = InFlight(
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
    state = state._replace(in_flight=in_flight)
    for client in everyone:
        state = dispatch(sim, state, int(client))
    return state


def plan_exchange(in_flight: InFlight, members: IntArray) -> RoundPlan:
    """Return the plan of members with equal numbers of completed exchanges and steps."""
    return RoundPlan(
        round_index=int(in_flight.done[members[0]]),
        first_step=int(in_flight.taken[members[0]]),
        invited=members,
        members=members,
        steps=in_flight.steps[members],
        current=np.zeros(len(members), dtype=bool),
    )


def compute_pending(sim: Simulation, state: RunState) -> Turns[RunState]:
    """Compute all updates in flight that are not computed yet."""
    in_flight: InFlight = state.in_flight
    waiting = np.flatnonzero(~in_flight.computed)
    behind = np.stack([in_flight.done[waiting], in_flight.taken[waiting]], axis=1)
    _, group = np.unique(behind, axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        state = yield from _trained(sim, state, waiting[group.reshape(-1) == number])
    in_flight = state.in_flight
    return state._replace(in_flight=in_flight._replace(computed=np.ones_like(in_flight.computed)))


def _trained(sim: Simulation, state: RunState, members: IntArray) -> Turns[RunState]:
    in_flight: InFlight = state.in_flight
    # Each client works on the model that it read, not on the server's current one.
    plan = plan_exchange(in_flight, members)
    as_read = state._replace(
        round_index=plan.round_index,
        server=state.server._replace(anchor=in_flight.models.everyone()),
    )
    clients, answers = yield from train(sim, as_read, plan)
    fresh = answers.uploads, answers.noise
    known = in_flight.messages
    if known == ():
        known = ClientTable.of(take(fresh, 0), len(sim.clients))
    in_flight = in_flight._replace(messages=known.put(members, fresh))
    return state._replace(clients=clients, in_flight=in_flight)


def receive(state: RunState, who: int) -> RunState:
    """Count one exchange, of this client."""
    in_flight: InFlight = state.in_flight
    one = np.arange(len(in_flight.done)) == who
    after = in_flight._replace(
        exchanges=in_flight.exchanges + 1,
        done=in_flight.done + one,
        taken=in_flight.taken + one * in_flight.steps,
    )
    return state._replace(in_flight=after)


def dispatch(sim: Simulation, state: RunState, who: int) -> RunState:
    """Send the server's model to the client and start it."""
    in_flight: InFlight = state.in_flight
    one = np.arange(len(in_flight.done)) == who
    ids = torch.tensor([who], device=sim.start.device)
    steps = int(local_steps(sim, state.period, int(in_flight.done[who]), np.array([who]))[0])
    row = broadcast_rows(state.server.anchor, ids)
    after = in_flight._replace(
        arrives=in_flight.arrives + one * _away(sim, state, who, steps),
        read=np.where(one, in_flight.exchanges, in_flight.read),
        steps=np.where(one, steps, in_flight.steps),
        models=in_flight.models.put(np.array([who]), row),
        computed=in_flight.computed & ~one,
    )
    return state._replace(in_flight=after)


def _away(sim: Simulation, state: RunState, who: int, steps: int) -> float:
    """Return the seconds until its update arrives: broadcast, local steps, upload."""
    ids, up, down = np.array([who]), sim.messages.upload.nbytes, sim.messages.whole.nbytes
    travel = sum(sim.clock.travel_seconds(ids, np.array([n]))[0] for n in (down, up))
    done = int(state.in_flight.done[who])
    return float(travel + sim.clock.compute_seconds(ids, np.array([steps]), done, sim.seed)[0])
