"""Rounds without a barrier: every client comes and goes at its own pace, on the simulated clock.

A round is K exchanges. In an exchange one client's message arrives, the server applies it, the
client reads what the server has now and begins again; the clock says when it will be back. What
a client computes depends on what it read and on its own count of exchanges, not on who else is on
the way. So clients whose messages are still to be computed are computed together, and the order
of arrivals, hence the run, is a function of the seed.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.client import Upload, broadcast_rows
from fedlocal.clients import IntArray
from fedlocal.ledger import RoundRecord, downlink_layouts, uplink_nbytes
from fedlocal.noise import link_noise
from fedlocal.pieces import Round
from fedlocal.rng import Purpose
from fedlocal.rounds.barrier import Row, evaluation, round_info
from fedlocal.rounds.diagnostics import diagnose
from fedlocal.rounds.late import Pile
from fedlocal.server import server_round
from fedlocal.simulation import Order, RunState, Simulation, mean_step_size
from fedlocal.trees import Tree, concatenate, put, take, tree_map
from fedlocal.wire import nbytes


class Flight(NamedTuple):
    """Who is on the way with what; every array is [K].

    arrives: Simulated second at which each client's message arrives.
    exchanges: Exchanges in all, [].
    read: How many of them the server had seen when each client read its model.
    done, taken: Exchanges and local steps that each client has behind it.
    steps: Local steps that it is taking.
    models: The models that they read, [K, P].
    computed: Whether a client's message is known already.
    uploads, noise: The messages, and the uniforms they were encoded with, every tensor [K, ...];
        () before the first.
    """

    arrives: NDArray[np.float64]
    exchanges: int
    read: IntArray
    done: IntArray
    taken: IntArray
    steps: IntArray
    models: Tensor
    computed: NDArray[np.bool_]
    uploads: Tree
    noise: Tree


class Exchange(NamedTuple):
    """One line of a round's record: who, how many steps, bytes both ways, and so on.

    downlink_bytes: Of the model that it had read when it began.
    """

    client: int
    steps: int
    uplink_bytes: int
    downlink_bytes: int
    staleness: int
    lr: float
    upload: Upload
    noise: Tensor
    info: Round


def exchanges_round(sim: Simulation, state: RunState) -> tuple[RunState, Row, RoundRecord]:
    """K exchanges: the next state, their row, and their record."""
    if state.flight == ():
        state = take_off(sim, state)
    exchanges: list[Exchange] = []
    for _ in range(len(sim.clients)):
        state, exchange = _exchange(sim, state)
        exchanges.append(exchange)
    record = _record(state, exchanges)
    state = _counted(state, record)
    row = _row(sim, state, exchanges)
    return state._replace(period=sim.strategy.period.observe(state.period, row)), row, record


def take_off(sim: Simulation, state: RunState) -> RunState:
    """Everybody reads the first anchor and begins."""
    count = len(sim.clients)
    zeros, everyone = np.zeros(count, dtype=np.int64), np.arange(count)
    rows = broadcast_rows(state.server.anchor, torch.from_numpy(everyone).to(sim.start.device))
    flight = Flight(
        arrives=np.zeros(count),
        exchanges=0,
        read=zeros,
        done=zeros,
        taken=zeros,
        steps=zeros,
        models=rows.clone(),
        computed=np.zeros(count, dtype=bool),
        uploads=(),
        noise=(),
    )
    for client in everyone:
        flight = _departed(sim, state, flight, int(client))
    return state._replace(flight=flight)


def _exchange(sim: Simulation, state: RunState) -> tuple[RunState, Exchange]:
    who = int(np.argmin(state.flight.arrives))
    if not state.flight.computed[who]:
        state = _computed(sim, state)
    flight: Flight = state.flight
    ids = torch.tensor([who], device=sim.start.device)
    upload, noise = take((flight.uploads, flight.noise), ids)
    info = _info(sim, state, who)
    server = _served(sim, state, upload, ids, noise, info)
    exchange = Exchange(
        client=who,
        steps=int(flight.steps[who]),
        uplink_bytes=int(uplink_nbytes(sim.strategy, upload, sim.start)[0]),
        downlink_bytes=_whole_nbytes(sim, state),
        staleness=flight.exchanges - int(flight.read[who]),
        lr=mean_step_size(sim, _order(flight, np.array([who]))),
        upload=upload,
        noise=noise,
        info=info,
    )
    landed = _landed(state._replace(server=server), who)
    after = _departed(sim, landed, landed.flight, who)
    return landed._replace(flight=after, sim_seconds=float(flight.arrives[who])), exchange


def _served(
    sim: Simulation, state: RunState, upload: Upload, ids: Tensor, noise: Tensor, info: Round
):
    rows, t = np.arange(len(state.server.anchor)), state.flight.exchanges
    down = link_noise(sim.strategy.downlink, Purpose.DOWNLINK, rows, t, sim.seed, sim.start)
    return server_round(sim.strategy, state.server, upload, ids, noise, down, info)[0]


def _info(sim: Simulation, state: RunState, who: int) -> Round:
    flight: Flight = state.flight
    members = np.array([who])
    info = round_info(sim, state, _order(flight, members), members)
    return info._replace(round_index=flight.exchanges, read=flight.models[who : who + 1])


def _order(flight: Flight, members: IntArray) -> Order:
    """What members do that have the same numbers of exchanges and steps behind them."""
    return Order(
        round_index=int(flight.done[members[0]]),
        first_step=int(flight.taken[members[0]]),
        invited=members,
        members=members,
        steps=flight.steps[members],
        current=np.zeros(len(members), dtype=bool),
    )


def _computed(sim: Simulation, state: RunState) -> RunState:
    """Compute all messages that are on the way and not known yet."""
    flight: Flight = state.flight
    waiting = np.flatnonzero(~flight.computed)
    behind = np.stack([flight.done[waiting], flight.taken[waiting]], axis=1)
    _, group = np.unique(behind, axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        state = _trained(sim, state, waiting[group.reshape(-1) == number])
    flight = state.flight
    return state._replace(flight=flight._replace(computed=np.ones_like(flight.computed)))


def _trained(sim: Simulation, state: RunState, members: IntArray) -> RunState:
    flight: Flight = state.flight
    # Each client works on the model that it read, whatever the server has by now.
    order = _order(flight, members)
    as_read = state._replace(
        round_index=order.round_index, server=state.server._replace(anchor=flight.models)
    )
    clients, answers = sim.population.train(sim, as_read, order)
    fresh = answers.uploads, answers.noise
    ids = torch.from_numpy(members).to(sim.start.device)
    count = len(sim.clients)
    known = flight.uploads, flight.noise
    if flight.uploads == ():
        known = tree_map(lambda t: t.new_zeros(count, *t.shape[1:]), fresh)
    uploads, noise = put(known, ids, fresh)
    flight = flight._replace(uploads=uploads, noise=noise)
    return state._replace(clients=clients, flight=flight)


def _landed(state: RunState, who: int) -> RunState:
    """One exchange more, and one more that this client has behind it."""
    flight: Flight = state.flight
    one = np.arange(len(flight.done)) == who
    after = flight._replace(
        exchanges=flight.exchanges + 1,
        done=flight.done + one,
        taken=flight.taken + one * flight.steps,
    )
    return state._replace(flight=after)


def _departed(sim: Simulation, state: RunState, flight: Flight, who: int) -> Flight:
    """The client reads the server's model and begins."""
    one = np.arange(len(flight.done)) == who
    ids = torch.tensor([who], device=sim.start.device)
    epoch = np.array([sim.clients.epoch(who, sim.batch_size)])
    steps = int(sim.strategy.period.steps(state.period, int(flight.done[who]), epoch)[0])
    row = broadcast_rows(state.server.anchor, ids)
    return flight._replace(
        arrives=flight.arrives + one * _away(sim, state, flight, who, steps),
        read=np.where(one, flight.exchanges, flight.read),
        steps=np.where(one, steps, flight.steps),
        models=flight.models.index_copy(0, ids, row),
        computed=flight.computed & ~one,
    )


def _away(sim: Simulation, state: RunState, flight: Flight, who: int, steps: int) -> float:
    """Seconds until its message is here: the model down, the steps, the message up."""
    ids, up = np.array([who]), nbytes(sim.strategy.uplink.layout(len(sim.start)), sim.start.dtype)
    down = _whole_nbytes(sim, state)
    travel = sum(sim.clock.travel_seconds(ids, np.array([n]))[0] for n in (down, up))
    done = int(flight.done[who])
    return float(travel + sim.clock.compute_seconds(ids, np.array([steps]), done, sim.seed)[0])


def _whole_nbytes(sim: Simulation, state: RunState) -> int:
    return nbytes(downlink_layouts(sim.strategy, state.server)[1], sim.start.dtype)


def _record(state: RunState, exchanges: list[Exchange]) -> RoundRecord:
    return RoundRecord(
        round_index=state.round_index,
        clients=np.array([e.client for e in exchanges]),
        steps=np.array([e.steps for e in exchanges]),
        uplink_bytes=np.array([e.uplink_bytes for e in exchanges]),
        downlink_bytes=np.array([e.downlink_bytes for e in exchanges]),
    )


def _counted(state: RunState, record: RoundRecord) -> RunState:
    return state._replace(
        round_index=state.round_index + 1,
        steps=state.steps + round(float(record.steps.mean())),
        uplink_bytes=state.uplink_bytes + int(record.uplink_bytes.sum()),
        downlink_bytes=state.downlink_bytes + int(record.downlink_bytes.sum()),
    )


def _row(sim: Simulation, state: RunState, exchanges: list[Exchange]) -> Row:
    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return {
        "round": state.round_index,
        "local_steps": state.steps,
        "period": round(mean([e.steps for e in exchanges])),
        "lr": mean([e.lr for e in exchanges]),
        "answered": len({e.client for e in exchanges}),
        "local_loss": mean([float(e.upload.loss[0]) for e in exchanges]),
        **evaluation(sim, state),
        **diagnose(sim, state, _pile(exchanges)),
        "uplink_bytes": state.uplink_bytes,
        "downlink_bytes": state.downlink_bytes,
        "sim_seconds": state.sim_seconds,
        "staleness": mean([e.staleness for e in exchanges]),
    }


def _pile(exchanges: list[Exchange]) -> Pile:
    """All that was sent, for the diagnostics."""
    return Pile(
        members=np.array([e.client for e in exchanges]),
        uploads=concatenate([e.upload for e in exchanges]),
        noise=torch.cat([e.noise for e in exchanges]),
        info=exchanges[-1].info,
        ages=np.array([e.staleness for e in exchanges]),
    )
