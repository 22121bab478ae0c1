"""One round of a run: who takes part, their work, the server's, and the row of metrics."""

from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlocal.clients import IntArray
from fedlocal.evaluate import mean_accuracy, mean_loss
from fedlocal.ledger import RoundRecord, downlink_nbytes, uplink_nbytes
from fedlocal.noise import link_noise
from fedlocal.participation import cohort
from fedlocal.pieces import Round, Timing
from fedlocal.rng import Purpose
from fedlocal.server import server_round
from fedlocal.simulation import Answers, Order, RunState, Simulation, consensus, step_sizes
from fedlocal.trees import Tree

Row = dict[str, Any]


def advance(sim: Simulation, state: RunState) -> tuple[RunState, Row, RoundRecord]:
    """One round: the next state, its row of metrics, and what it sent and computed."""
    began = perf_counter()
    order = order_of(sim, state)
    clients, answers = sim.population.train(sim, state, order)
    after, row, record = conclude(sim, state, order, clients, answers)
    row["wall_seconds"] = state.wall_seconds + perf_counter() - began
    return after._replace(wall_seconds=row["wall_seconds"]), row, record


def order_of(sim: Simulation, state: RunState) -> Order:
    """What the next round's cohort is asked to do."""
    invited = cohort(len(sim.clients), sim.participation, sim.seed, state.round_index)
    members = sim.faults.answering(invited, sim.seed, state.round_index)
    epochs = np.array([sim.clients.epoch(int(c), sim.batch_size) for c in members])
    return Order(
        round_index=state.round_index,
        first_step=state.steps,
        invited=invited,
        members=members,
        steps=sim.strategy.period.steps(state.period, state.round_index, epochs),
        # A change is of use to those who hold what it is a change of; at first there is none.
        current=(state.seen[invited] == state.round_index - 1) & (state.broadcast != ()),
    )


def conclude(
    sim: Simulation, state: RunState, order: Order, clients: Tree, answers: Answers
) -> tuple[RunState, Row, RoundRecord]:
    """The rest of a round, once the answers are there. Its row has no wall_seconds yet."""
    record = _record(sim, state, order, answers)
    served, local_loss = _served(sim, state._replace(clients=clients), order, answers)
    after = _counted(sim, served, record, answers.reached)
    row = {
        "round": after.round_index,
        "local_steps": after.steps,
        "period": after.steps - state.steps,
        "lr": None if answers.uploads is None else float(step_sizes(sim, order).mean()),
        "answered": len(answers.members),
        "local_loss": local_loss,
        **_evaluation(sim, after),
        "uplink_bytes": after.uplink_bytes,
        "downlink_bytes": after.downlink_bytes,
        "sim_seconds": after.sim_seconds,
    }
    return after._replace(period=sim.strategy.period.observe(state.period, row)), row, record


def _served(
    sim: Simulation, state: RunState, order: Order, answers: Answers
) -> tuple[RunState, float | None]:
    """The state after the server's half, and the members' mean loss while they trained."""
    if answers.uploads is None:
        return state._replace(broadcast=()), None
    strategy, like, t = sim.strategy, sim.start, state.round_index
    rows = np.arange(len(state.server.anchor))
    info = _info(sim, order, answers.members)
    server, broadcast = server_round(
        strategy,
        state.server,
        answers.uploads,
        torch.from_numpy(answers.members).to(like.device),
        answers.noise,
        link_noise(strategy.downlink, Purpose.DOWNLINK, rows, t, sim.seed, like),
        info,
    )
    loss = float(answers.uploads.loss.double() @ info.weights.double())
    return state._replace(server=server, broadcast=broadcast), loss


def _info(sim: Simulation, order: Order, members: IntArray) -> Round:
    like = sim.start
    answered = order.steps[np.isin(order.members, members)]
    steps, rates = torch.from_numpy(answered.astype(np.float64)), step_sizes(sim, order)
    counts = torch.from_numpy(sim.clients.counts[members])

    def placed(value: Any) -> Tensor:
        return torch.as_tensor(value).to(like.dtype).to(like.device)

    return Round(
        round_index=order.round_index,
        weights=placed(sim.strategy.mixing.weigh(counts, steps)),
        fraction=len(members) / len(sim.clients),
        lr=placed(rates.mean()),
        steps=placed(steps),
        step_sums=placed(np.cumsum(rates)[answered - 1]),
    )


def _record(sim: Simulation, state: RunState, order: Order, answers: Answers) -> RoundRecord:
    strategy, like = sim.strategy, sim.start
    answered = np.isin(order.invited, answers.members)
    steps = np.zeros(len(order.invited), dtype=np.int64)
    steps[answered] = order.steps[np.isin(order.members, answers.members)]
    up = np.zeros(len(order.invited), dtype=np.int64)
    if answers.uploads is not None:
        up[answered] = uplink_nbytes(strategy, answers.uploads, like)
    down = downlink_nbytes(strategy, state.server, order.current)
    links = strategy.mixing.links(state.round_index, len(sim.clients))
    if links is not None:
        # Clients talk to each other: what one sends, its neighbours receive, and nobody else.
        up, down = links.sum(1) * up, up @ links
    return RoundRecord(
        round_index=state.round_index,
        clients=order.invited,
        steps=steps,
        uplink_bytes=up,
        downlink_bytes=down,
        overlapped=strategy.timing is Timing.OVERLAPPED,
    )


def _counted(sim: Simulation, state: RunState, record: RoundRecord, reached: IntArray) -> RunState:
    seen = state.seen.copy()
    seen[record.clients] = -1
    seen[reached] = state.round_index
    return state._replace(
        round_index=state.round_index + 1,
        steps=state.steps + int(record.steps.max()),
        seen=seen,
        uplink_bytes=state.uplink_bytes + int(record.uplink_bytes.sum()),
        downlink_bytes=state.downlink_bytes + int(record.downlink_bytes.sum()),
        sim_seconds=state.sim_seconds + sim.clock.seconds(record, sim.seed),
    )


def _evaluation(sim: Simulation, state: RunState) -> dict[str, float | None]:
    if not sim.evaluate.due(state.round_index, sim.rounds):
        return {"train_loss": None, "test_loss": None, "test_accuracy": None}
    x, batch = consensus(sim, state), sim.evaluate.batch_size
    train, test = sim.train, sim.test
    return {
        "train_loss": None if train is None else mean_loss(sim.objective, x, train, batch),
        "test_loss": None if test is None else mean_loss(sim.objective, x, test, batch),
        "test_accuracy": None if test is None else mean_accuracy(sim.objective, x, test, batch),
    }
