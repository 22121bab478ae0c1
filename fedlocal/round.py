"""One round of a run: who takes part, their work, the server's, and the row of metrics."""

from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import ClientState, Inbox, broadcast_rows, client_round
from fedlocal.clients import IntArray
from fedlocal.evaluate import mean_accuracy, mean_loss
from fedlocal.ledger import RoundRecord, downlink_nbytes, uplink_nbytes
from fedlocal.participation import cohort
from fedlocal.pieces import Compressor, Round
from fedlocal.rng import Purpose, generator
from fedlocal.runtime import Plan
from fedlocal.server import ServerState, server_round
from fedlocal.simulation import RunState, Simulation, consensus
from fedlocal.trees import put, take

Row = dict[str, Any]


class Trained(NamedTuple):
    """What the members' work comes to.

    steps: Local steps of each member, [S]. uplink_bytes: Length of one member's upload.
    loss: Their mean loss while they trained; None if nobody answered.
    """

    server: ServerState
    clients: ClientState
    steps: IntArray
    uplink_bytes: int
    loss: float | None


def advance(sim: Simulation, state: RunState) -> tuple[RunState, Row, RoundRecord]:
    """One round: the next state, its row of metrics, and what it sent and computed."""
    began = perf_counter()
    invited = cohort(len(sim.clients), sim.participation, sim.seed, state.round_index)
    members = sim.faults.answering(invited, sim.seed, state.round_index)
    trained = _train(sim, state, members)
    record = _record(sim, state, invited, members, trained)
    after = _after(sim, state, trained, record)
    row = {
        "round": after.round_index,
        "local_steps": after.steps,
        "period": after.steps - state.steps,
        "answered": len(members),
        "local_loss": trained.loss,
        **_evaluation(sim, after),
        "uplink_bytes": after.uplink_bytes,
        "downlink_bytes": after.downlink_bytes,
        "sim_seconds": after.sim_seconds,
    }
    row["wall_seconds"] = state.wall_seconds + perf_counter() - began
    period = sim.strategy.period.observe(state.period, row)
    return after._replace(period=period, wall_seconds=row["wall_seconds"]), row, record


def _train(sim: Simulation, state: RunState, members: IntArray) -> Trained:
    """Clients' rounds, then the server's. Nobody answering leaves everything as it is."""
    if len(members) == 0:
        return Trained(state.server, state.clients, members, 0, None)
    plan = _plan(sim, state, members)
    ids = torch.from_numpy(members).to(sim.start.device)
    inbox = Inbox(
        broadcast_rows(state.server.anchor, ids), state.server.inner, state.server.correction
    )
    one_client = partial(client_round, sim.strategy, sim.objective.gradient)
    states, uploads = sim.runtime.run(one_client, take(state.clients, ids), inbox, plan)
    info = _info(sim, members, plan)
    noise = _noise(
        sim, sim.strategy.downlink, Purpose.DOWNLINK, np.arange(len(state.server.anchor)), state
    )
    server, _ = server_round(sim.strategy, state.server, uploads, ids, plan.noise, noise, info)
    return Trained(
        server=server,
        clients=put(state.clients, ids, states),
        steps=plan.steps,
        uplink_bytes=uplink_nbytes(sim.strategy, uploads, len(sim.start), sim.start.dtype),
        loss=float(uploads.loss.double() @ info.weights.double()),
    )


def _plan(sim: Simulation, state: RunState, members: IntArray) -> Plan:
    epochs = np.array([sim.clients.epoch(int(c), sim.batch_size) for c in members])
    steps = sim.strategy.period.steps(state.period, state.round_index, epochs)
    indices = [
        sim.clients.batches(int(c), int(h), sim.batch_size, sim.seed, state.round_index)
        for c, h in zip(members, steps, strict=True)
    ]
    return Plan(
        clients=members,
        steps=steps,
        rates=sim.strategy.inner.rates(state.round_index, state.steps, int(steps.max())),
        indices=indices,
        noise=_noise(sim, sim.strategy.uplink, Purpose.UPLINK, members, state),
    )


def _noise(
    sim: Simulation, link: Compressor, purpose: Purpose, rows: IntArray, state: RunState
) -> Tensor:
    """The uniforms of one link in this round, [rows, n]."""
    count = link.noise_size(len(sim.start))
    # Drawn in the run's own precision: rounding a double down to it may give 1.
    dtype = np.float64 if sim.start.dtype == torch.float64 else np.float32
    draws = np.empty((len(rows), count), dtype)
    if count:
        for draw, row in zip(draws, rows, strict=True):
            rng = generator(sim.seed, purpose, int(row), state.round_index)
            draw[:] = rng.random(count, dtype=dtype)
    return torch.from_numpy(draws).to(sim.start.device)


def _info(sim: Simulation, members: IntArray, plan: Plan) -> Round:
    like = sim.start
    weights = sim.strategy.mixing.weigh(torch.from_numpy(sim.clients.counts[members]))
    return Round(
        weights=weights.to(like.dtype).to(like.device),
        fraction=len(members) / len(sim.clients),
        lr=torch.tensor(plan.rates.mean(), dtype=like.dtype).to(like.device),
    )


def _record(
    sim: Simulation, state: RunState, invited: IntArray, members: IntArray, trained: Trained
) -> RoundRecord:
    answered = np.isin(invited, members)
    steps = np.zeros(len(invited), dtype=np.int64)
    steps[answered] = trained.steps
    # Before the first round nobody holds an anchor that a change could be added to.
    current = (state.seen[invited] == state.round_index - 1) & (state.round_index > 0)
    return RoundRecord(
        round_index=state.round_index,
        clients=invited,
        steps=steps,
        uplink_bytes=answered * trained.uplink_bytes,
        downlink_bytes=downlink_nbytes(sim.strategy, state.server, current),
    )


def _after(sim: Simulation, state: RunState, trained: Trained, record: RoundRecord) -> RunState:
    seen = state.seen.copy()
    seen[record.clients] = state.round_index
    return state._replace(
        round_index=state.round_index + 1,
        steps=state.steps + int(record.steps.max()),
        server=trained.server,
        clients=trained.clients,
        seen=seen,
        uplink_bytes=state.uplink_bytes + int(record.uplink_bytes.sum()),
        downlink_bytes=state.downlink_bytes + int(record.downlink_bytes.sum()),
        sim_seconds=state.sim_seconds + sim.clock.seconds(record, sim.seed),
    )


def _evaluation(sim: Simulation, state: RunState) -> dict[str, float | None]:
    if not sim.evaluate.due(state.round_index, sim.rounds):
        return {"train_loss": None, "test_loss": None, "test_accuracy": None}
    x, batch = consensus(sim, state), sim.evaluate.batch_size
    test = sim.test
    return {
        "train_loss": mean_loss(sim.objective, x, sim.train, batch),
        "test_loss": None if test is None else mean_loss(sim.objective, x, test, batch),
        "test_accuracy": None if test is None else mean_accuracy(sim.objective, x, test, batch),
    }
