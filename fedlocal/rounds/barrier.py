"""A synchronous round: cohort, local training, server round, and the row of metrics."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import broadcast_rows
from fedlocal.rounds.diagnostics import diagnose
from fedlocal.rounds.evaluation import evaluation
from fedlocal.rounds.late import (
    ReceivedUpdates,
    lasts,
    not_busy,
    split_by_deadline,
    within_deadline,
)
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.messages import link_noise
from fedlocal.rounds.population import train
from fedlocal.rounds.server import server_round
from fedlocal.rounds.state import (
    Answers,
    RoundPlan,
    RunState,
    Simulation,
    local_steps,
    mean_step_size,
    step_sizes,
)
from fedlocal.rounds.traffic import polled, traffic
from fedlocal.rounds.training import Turns
from fedlocal.slots import Round, Timing
from fedlocal.utils.arrays import IntArray, isin
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import Tree

Row = dict[str, Any]


def barrier_round(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Row, RoundRecord]]:
    """Run one synchronous round; return the next state, its metrics, and its ledger record."""
    state, order = exchange_gradients(sim, state, order_of(sim, state))
    clients, answers = yield from train(sim, state, order)
    return conclude(sim, state, order, clients, answers)


def order_of(sim: Simulation, state: RunState) -> RoundPlan:
    """Return the order of the next round."""
    cohort = sim.strategy.sampling.cohort(
        len(sim.clients), sim.participation, sim.seed, state.round_index
    )
    invited = not_busy(state, cohort)
    members = sim.faults.answering(invited, sim.seed, state.round_index)
    order = RoundPlan(
        round_index=state.round_index,
        first_step=state.steps,
        invited=invited,
        members=members,
        steps=local_steps(sim, state.period, state.round_index, members),
        # A change is useful only to clients that hold the previous anchor; the first round has
        # none.
        current=(state.seen[invited] == state.round_index - 1) & (state.broadcast != ()),
    )
    return within_deadline(sim, state, order)


def exchange_gradients(
    sim: Simulation, state: RunState, order: RoundPlan
) -> tuple[RunState, RoundPlan]:
    """Exchange gradients before the local steps, where the correction needs them.

    Returns:
        The state with the new control, and the order restricted to the members that answered.
    """
    correction = sim.strategy.correction
    if not correction.needs_gradient_exchange or len(order.members) == 0:
        return state, order
    members, gradients = sim.population.gradients(sim, state, order)
    order = order._replace(members=members, steps=order.steps[isin(order.members, members)])
    if len(members) == 0:
        return state, order
    weights = round_info(sim, state, order, members).weights
    control = correction.combine_gradients(state.server.correction, gradients, weights)
    return state._replace(server=state.server._replace(correction=control)), order


def conclude(
    sim: Simulation, state: RunState, order: RoundPlan, clients: Tree, answers: Answers
) -> tuple[RunState, Row, RoundRecord]:
    """Finish a round, given the answers."""
    record = _record(sim, state, order, answers)
    received, late = split_by_deadline(
        sim, state.late, order, record, _received(sim, state, order, answers)
    )
    served, local_loss = _served(sim, state._replace(clients=clients, late=late), received)
    record = polled(sim, state, served, record)
    after = _counted(sim, served, record, answers.reached)
    row = {
        "round": after.round_index,
        "local_steps": after.steps,
        "period": after.steps - state.steps,
        "lr": None if answers.uploads is None else mean_step_size(sim, order),
        "answered": 0 if received is None else len(received.members),
        "local_loss": local_loss,
        **evaluation(sim, after),
        **(diagnose(sim, after, received) if sim.diagnostics else {}),
        "uplink_bytes": after.uplink_bytes,
        "downlink_bytes": after.downlink_bytes,
        "sim_seconds": after.sim_seconds,
    }
    return after._replace(period=sim.strategy.period.observe(state.period, row)), row, record


def _received(
    sim: Simulation, state: RunState, order: RoundPlan, answers: Answers
) -> ReceivedUpdates | None:
    if answers.uploads is None:
        return None
    members = answers.members
    info = round_info(sim, state, order, members)
    return ReceivedUpdates(members, answers.uploads, answers.noise, info, np.zeros_like(members))


def _served(
    sim: Simulation, state: RunState, received: ReceivedUpdates | None
) -> tuple[RunState, float | None]:
    """Return the state after the server round, and the members' mean local loss."""
    if received is None:
        return state._replace(broadcast=()), None
    strategy, like, t = sim.strategy, sim.start, state.round_index
    rows = np.arange(len(state.server.anchor))
    server, broadcast = server_round(
        strategy,
        state.server,
        received.uploads,
        torch.from_numpy(received.members).to(like.device),
        received.noise,
        link_noise(strategy.downlink, Purpose.DOWNLINK, rows, t, sim.seed, like),
        received.info,
    )
    loss = float(received.uploads.loss.double() @ received.info.weights.double())
    return state._replace(server=server, broadcast=broadcast), loss


def round_info(sim: Simulation, state: RunState, order: RoundPlan, members: IntArray) -> Round:
    """Return the server's information about the members' work."""
    like = sim.start
    # Only steps of the shared parameters count.
    first = sim.personal_steps
    answered = order.steps[isin(order.members, members)] - first
    steps, rates = torch.from_numpy(answered.astype(np.float64)), step_sizes(sim, order)[first:]
    effective = sim.strategy.inner.effective(torch.tensor(rates))
    counts = torch.from_numpy(sim.clients.counts[members])

    def placed(value: Any) -> Tensor:
        # The dtype is given at once: a Python number would pass through float32.
        return torch.as_tensor(value, dtype=like.dtype).to(like.device)

    return Round(
        round_index=order.round_index,
        read=broadcast_rows(state.server.anchor, torch.from_numpy(members).to(like.device)),
        weights=placed(sim.strategy.mixing.weigh(counts, steps)),
        fraction=len(members) / len(sim.clients),
        lr=placed(mean_step_size(sim, order)),
        steps=placed(steps),
        step_sums=placed(torch.cumsum(effective, 0)[answered - 1]),
    )


def _record(sim: Simulation, state: RunState, order: RoundPlan, answers: Answers) -> RoundRecord:
    answered = isin(order.invited, answers.members)
    steps = np.zeros(len(order.invited), dtype=np.int64)
    steps[answered] = order.steps[isin(order.members, answers.members)]
    up = np.zeros(len(order.invited), dtype=np.int64)
    if answers.uploads is not None:
        up[answered] = sim.messages.upload_nbytes(answers.uploads)
    up, down = traffic(sim, state, order, up)
    return RoundRecord(
        round_index=state.round_index,
        clients=order.invited,
        steps=steps,
        uplink_bytes=up,
        downlink_bytes=down,
        overlapped=sim.strategy.timing is Timing.OVERLAPPED,
        lasts=lasts(order, answers),
    )


def _counted(sim: Simulation, state: RunState, record: RoundRecord, reached: IntArray) -> RunState:
    seen = state.seen.copy()
    seen[record.clients] = -1
    seen[reached] = state.round_index
    return state._replace(
        round_index=state.round_index + 1,
        steps=state.steps + int(record.steps.max(initial=0)),
        seen=seen,
        uplink_bytes=state.uplink_bytes + int(record.uplink_bytes.sum()),
        downlink_bytes=state.downlink_bytes + int(record.downlink_bytes.sum()),
        sim_seconds=state.sim_seconds + sim.clock.seconds(record, sim.seed),
    )
