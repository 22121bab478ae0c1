"""A run: what is fixed in it, what changes from round to round, and one round of it."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.client import ClientState, Inbox, Upload, broadcast_rows, init_client
from fedlocal.clients import Clients, IntArray
from fedlocal.clock import Clock
from fedlocal.evaluate import Evaluate, mean_accuracy, mean_loss
from fedlocal.ledger import Ledger, RoundRecord, downlink_nbytes, uplink_nbytes
from fedlocal.objective import Objective
from fedlocal.participation import DropOut, cohort
from fedlocal.pieces import Round
from fedlocal.rng import Purpose, generator
from fedlocal.runtime import Plan, Runtime
from fedlocal.server import ServerState, init_server, server_round
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree, put, repeat, take

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Simulation:
    """Everything that is fixed in a run. `start` is the initial model [P]."""

    objective: Objective
    clients: Clients
    strategy: Strategy
    start: Tensor
    rounds: int
    batch_size: int | None
    participation: float
    seed: int
    runtime: Runtime
    clock: Clock
    faults: DropOut
    evaluate: Evaluate
    test: tuple[Tensor, Tensor] | None


class RunState(NamedTuple):
    """Everything that changes. With the Simulation it determines the rest of the run.

    round_index: Rounds done. steps: Local steps done, the longest client's of each round added
    up. server, clients: The states, clients' stacked [K, ...]. seen: Last round whose broadcast
    each client received, [K], -1 for none. period: The period's state.
    """

    round_index: int
    steps: int
    server: ServerState
    clients: ClientState
    seen: IntArray
    period: Tree
    ledger: Ledger
    sim_seconds: float
    wall_seconds: float


def initial_state(sim: Simulation) -> RunState:
    """The state before the first round."""
    count = len(sim.clients)
    return RunState(
        round_index=0,
        steps=0,
        server=init_server(sim.strategy, sim.start, count),
        clients=repeat(init_client(sim.strategy, sim.start), count),
        seen=np.full(count, -1),
        period=sim.strategy.period.init(),
        ledger=Ledger(),
        sim_seconds=0.0,
        wall_seconds=0.0,
    )


def advance(sim: Simulation, state: RunState) -> tuple[RunState, Row]:
    """One round: the next state and its row of metrics."""
    began = perf_counter()
    invited = cohort(len(sim.clients), sim.participation, sim.seed, state.round_index)
    members = sim.faults.answering(invited, sim.seed, state.round_index)
    after, loss, steps = _train(sim, state, members)

    record = _record(sim, state, invited, members, steps, after.uplink_bytes)
    ledger = state.ledger.add(record)
    seen = state.seen.copy()
    seen[invited] = state.round_index
    longest = int(steps.max(initial=0))
    following = state._replace(
        round_index=state.round_index + 1,
        steps=state.steps + longest,
        server=after.server,
        clients=after.clients,
        seen=seen,
        ledger=ledger,
        sim_seconds=state.sim_seconds + sim.clock.seconds(record, sim.seed),
    )
    row = {
        "round": following.round_index,
        "local_steps": following.steps,
        "period": longest,
        "answered": len(members),
        "local_loss": loss,
        **_evaluation(sim, following),
        "uplink_bytes": ledger.uplink_bytes,
        "downlink_bytes": ledger.downlink_bytes,
        "sim_seconds": following.sim_seconds,
    }
    wall = state.wall_seconds + perf_counter() - began
    period = sim.strategy.period.observe(state.period, row)
    return following._replace(period=period, wall_seconds=wall), row | {"wall_seconds": wall}


class _Trained(NamedTuple):
    server: ServerState
    clients: ClientState
    uplink_bytes: int  # of one member


def _train(
    sim: Simulation, state: RunState, members: IntArray
) -> tuple[_Trained, float | None, IntArray]:
    """Clients' rounds, then the server's. Nobody answering leaves everything as it is."""
    if len(members) == 0:
        return _Trained(state.server, state.clients, 0), None, np.zeros(0, dtype=np.int64)
    plan = _plan(sim, state, members)
    ids = torch.from_numpy(members).to(sim.start.device)
    inbox = Inbox(
        broadcast_rows(state.server.anchor, ids), state.server.inner, state.server.correction
    )
    states, uploads = sim.runtime.run(
        sim.strategy, sim.objective, take(state.clients, ids), inbox, plan
    )
    info = _info(sim, members, plan)
    server, _ = server_round(
        sim.strategy, state.server, uploads, ids, plan.noise, _downlink_noise(sim, state), info
    )
    size = uplink_nbytes(sim.strategy, uploads, len(sim.start), sim.start.dtype)
    trained = _Trained(server, put(state.clients, ids, states), size)
    return trained, _mean_loss(uploads, info), plan.steps


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
        noise=_noise(sim, Purpose.UPLINK, members, state.round_index),
    )


def _noise(sim: Simulation, purpose: Purpose, rows: NDArray[np.int64], round_index: int) -> Tensor:
    link = sim.strategy.uplink if purpose == Purpose.UPLINK else sim.strategy.downlink
    count = link.noise_size(len(sim.start))
    draws = np.empty((len(rows), count))
    if count:
        for draw, row in zip(draws, rows, strict=True):
            generator(sim.seed, purpose, int(row), round_index).random(out=draw)
    return torch.from_numpy(draws).to(dtype=sim.start.dtype).to(sim.start.device)


def _downlink_noise(sim: Simulation, state: RunState) -> Tensor:
    rows = np.arange(state.server.anchor.shape[0])
    return _noise(sim, Purpose.DOWNLINK, rows, state.round_index)


def _info(sim: Simulation, members: IntArray, plan: Plan) -> Round:
    like = sim.start
    counts = torch.tensor(sim.clients.counts[members], dtype=torch.float64)
    return Round(
        weights=sim.strategy.mixing.weigh(counts).to(like.dtype).to(like.device),
        fraction=len(members) / len(sim.clients),
        lr=torch.tensor(plan.rates.mean(), dtype=like.dtype).to(like.device),
    )


def _mean_loss(uploads: Upload, info: Round) -> float:
    return float(uploads.loss.double() @ info.weights.double())


def _record(
    sim: Simulation,
    state: RunState,
    invited: IntArray,
    members: IntArray,
    steps: IntArray,
    uplink_bytes: int,
) -> RoundRecord:
    answered = np.isin(invited, members)
    all_steps = np.zeros(len(invited), dtype=np.int64)
    all_steps[answered] = steps
    # Before the first round nobody holds an anchor that a change could be added to.
    current = (state.seen[invited] == state.round_index - 1) & (state.round_index > 0)
    return RoundRecord(
        round_index=state.round_index,
        clients=invited,
        steps=all_steps,
        uplink_bytes=answered * uplink_bytes,
        downlink_bytes=downlink_nbytes(sim.strategy, state.server, current),
    )


def consensus(sim: Simulation, state: RunState) -> Tensor:
    """The model [P] that is evaluated: the anchor, or the mean of the clients' models."""
    return client_models(sim, state).mean(0) if _personal(sim, state) else state.server.anchor[0]


def client_models(sim: Simulation, state: RunState) -> Tensor:
    """Each client's model after the last synchronisation, [K, P]."""
    ids = torch.arange(len(sim.clients), device=sim.start.device)
    rows = broadcast_rows(state.server.anchor, ids)
    return torch.vmap(sim.strategy.mixing.begin)(state.clients.mixing, rows)[0]


def _personal(sim: Simulation, state: RunState) -> bool:
    return state.server.anchor.shape[0] > 1 or state.clients.mixing != ()


def _evaluation(sim: Simulation, state: RunState) -> dict[str, float | None]:
    empty: dict[str, float | None] = {"train_loss": None, "test_loss": None, "test_accuracy": None}
    due = state.round_index % sim.evaluate.every == 0 or state.round_index == sim.rounds
    if not due:
        return empty
    x, objective, batch = consensus(sim, state), sim.objective, sim.evaluate.batch_size
    held = np.unique(np.concatenate([part for chunks in sim.clients.chunks for part in chunks]))
    rows = torch.from_numpy(sim.evaluate.subset(held, sim.seed)).to(x.device)
    train = mean_loss(objective, x, objective.x[rows], objective.y[rows], batch)
    if sim.test is None:
        return empty | {"train_loss": train}
    return {
        "train_loss": train,
        "test_loss": mean_loss(objective, x, *sim.test, batch),
        "test_accuracy": mean_accuracy(objective, x, *sim.test, batch),
    }
