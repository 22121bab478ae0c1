"""Asynchronous rounds: every client exchanges models at its own pace on the simulated clock.

A round is K exchanges. In an exchange one client's update arrives, the server applies it, the
client reads the server's current model and starts again; the clock gives its next arrival. A
client's computation depends on the model it read and on its own number of exchanges, not on other
clients in flight. Pending updates are therefore computed in one batch, and the order of arrivals,
hence the run, is a function of the seed.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import Upload
from fedlocal.rounds.in_flight import (
    InFlight,
    compute_pending,
    dispatch,
    plan_exchange,
    receive,
    start_all,
)
from fedlocal.rounds.late_updates import ReceivedUpdates
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.message_formats import link_noise
from fedlocal.rounds.metrics import Row, metrics_row
from fedlocal.rounds.server import ServerState, server_round
from fedlocal.rounds.state import RunState, Simulation, mean_step_size
from fedlocal.rounds.synchronous import round_info
from fedlocal.rounds.training_request import Turns
from fedlocal.slots import Round
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import concatenate


class Exchange(NamedTuple):
    """Exchange of a client with the server: steps, bytes both ways, staleness, update.

    downlink_bytes: Size of the model that the client read when it started.
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


def exchanges_round(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Row, RoundRecord]]:
    """Run K exchanges; return the next state, their row of metrics, and their record."""
    if state.in_flight == ():
        state = start_all(sim, state)
    exchanges: list[Exchange] = []
    for _ in range(len(sim.clients)):
        state, exchange = yield from _exchange(sim, state)
        exchanges.append(exchange)
    record = _record(state, exchanges)
    state = _counted(state, record)
    row = _row(sim, state, exchanges)
    return state._replace(period=sim.strategy.period.observe(state.period, row)), row, record


def _exchange(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Exchange]]:
    who = int(np.argmin(state.in_flight.arrives))
    if not state.in_flight.computed[who]:
        state = yield from compute_pending(sim, state)
    in_flight: InFlight = state.in_flight
    ids = torch.tensor([who], device=sim.start.device)
    upload, noise = in_flight.messages.take(np.array([who]))
    info = _info(sim, state, who)
    server = _served(sim, state, upload, ids, noise, info)
    exchange = Exchange(
        client=who,
        steps=int(in_flight.steps[who]),
        uplink_bytes=int(sim.messages.upload_nbytes(upload)[0]),
        downlink_bytes=sim.messages.whole.nbytes,
        staleness=in_flight.exchanges - int(in_flight.read[who]),
        lr=mean_step_size(sim, plan_exchange(in_flight, np.array([who]))),
        upload=upload,
        noise=noise,
        info=info,
    )
    here = state._replace(server=server, sim_seconds=float(in_flight.arrives[who]))
    return dispatch(sim, receive(here, who), who), exchange


def _served(
    sim: Simulation, state: RunState, upload: Upload, ids: Tensor, noise: Tensor, info: Round
) -> ServerState:
    rows, t = np.arange(len(state.server.anchor)), state.in_flight.exchanges
    down = link_noise(sim.strategy.downlink, Purpose.DOWNLINK, rows, t, sim.seed, sim.start)
    return server_round(sim.strategy, state.server, upload, ids, noise, down, info)[0]


def _info(sim: Simulation, state: RunState, who: int) -> Round:
    in_flight: InFlight = state.in_flight
    members = np.array([who])
    info = round_info(sim, state, plan_exchange(in_flight, members), members)
    return info._replace(round_index=in_flight.exchanges, read=in_flight.models.take(members))


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

    return metrics_row(
        sim,
        state,
        _received(exchanges) if sim.diagnostics else None,
        period=round(mean([e.steps for e in exchanges])),
        lr=mean([e.lr for e in exchanges]),
        answered=len({e.client for e in exchanges}),
        local_loss=mean([float(e.upload.loss[0]) for e in exchanges]),
        staleness=mean([e.staleness for e in exchanges]),
    )


def _received(exchanges: list[Exchange]) -> ReceivedUpdates:
    """Return all updates of the round, for the diagnostics."""
    return ReceivedUpdates(
        members=np.array([e.client for e in exchanges]),
        uploads=concatenate([e.upload for e in exchanges]),
        noise=torch.cat([e.noise for e in exchanges]),
        info=exchanges[-1].info,
        ages=np.array([e.staleness for e in exchanges]),
    )
