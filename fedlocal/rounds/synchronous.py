"""Synchronous round: cohort, local training, server round, metrics."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.client import broadcast_rows
from fedlocal.rounds.late_updates import (
    ReceivedUpdates,
    lasts,
    not_busy,
    split_by_deadline,
    within_deadline,
)
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.message_formats import link_noise
from fedlocal.rounds.metrics import Row, metrics_row
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
from fedlocal.rounds.traffic import count_polled, traffic
from fedlocal.rounds.training_request import Turns
from fedlocal.slots import Round, Timing
from fedlocal.utils.arrays import IntArray, isin
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import Tree


def barrier_round(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Row, RoundRecord]]:
    """Run one synchronous round; return the next state, its metrics, and its ledger record."""
    state, plan = exchange_gradients(sim, state, plan_round(sim, state))
    clients, answers = yield from train(sim, state, plan)
    return conclude(sim, state, plan, clients, answers)


def plan_round(sim: Simulation, state: RunState) -> RoundPlan:
    """Sample the cohort and plan the next round: its members and their local steps."""
    cohort = sim.strategy.sampling.cohort(
        len(sim.clients), sim.participation, sim.seed, state.round_index
    )
    invited = not_busy(state, cohort)
    members = sim.faults.answering(invited, sim.seed, state.round_index)
    plan = RoundPlan(
        round_index=state.round_index,
        first_step=state.steps,
        invited=invited,
        members=members,
        steps=local_steps(sim, state.period, state.round_index, members),
        # Only clients that received the previous broadcast can apply a change to it; the first
        # round has none.
        current=(state.seen[invited] == state.round_index - 1) & (state.broadcast != ()),
    )
    return within_deadline(sim, state, plan)


def exchange_gradients(
    sim: Simulation, state: RunState, plan: RoundPlan
) -> tuple[RunState, RoundPlan]:
    """Exchange gradients before the local steps, where the correction needs them.

    Returns:
        The state with the new control, and the plan restricted to the members that answered.
    """
    correction = sim.strategy.correction
    if not correction.needs_gradient_exchange or len(plan.members) == 0:
        return state, plan
    members, gradients = sim.population.gradients(sim, state, plan)
    plan = plan._replace(members=members, steps=plan.steps[isin(plan.members, members)])
    if len(members) == 0:
        return state, plan
    weights = round_info(sim, state, plan, members).weights
    control = correction.combine_gradients(state.server.correction, gradients, weights)
    return state._replace(server=state.server._replace(correction=control)), plan


def conclude(
    sim: Simulation, state: RunState, plan: RoundPlan, clients: Tree, answers: Answers
) -> tuple[RunState, Row, RoundRecord]:
    """Finish a round, given the answers."""
    record = _record(sim, state, plan, answers)
    received, late = split_by_deadline(
        sim, state.late, plan, record, _received(sim, state, plan, answers)
    )
    served, local_loss = _served(sim, state._replace(clients=clients, late=late), received)
    record = count_polled(sim, state, served, record)
    after = _counted(sim, served, record, answers.reached)
    row = metrics_row(
        sim,
        after,
        received,
        period=after.steps - state.steps,
        lr=None if answers.uploads is None else mean_step_size(sim, plan),
        answered=0 if received is None else len(received.members),
        local_loss=local_loss,
    )
    return after._replace(period=sim.strategy.period.observe(state.period, row)), row, record


def _received(
    sim: Simulation, state: RunState, plan: RoundPlan, answers: Answers
) -> ReceivedUpdates | None:
    if answers.uploads is None:
        return None
    members = answers.members
    info = round_info(sim, state, plan, members)
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


def round_info(sim: Simulation, state: RunState, plan: RoundPlan, members: IntArray) -> Round:
    """Return the server's information about the members' work."""
    like = sim.start
    # Only steps of the shared parameters count.
    first = sim.personal_steps
    answered = plan.steps[isin(plan.members, members)] - first
    steps, rates = torch.from_numpy(answered.astype(np.float64)), step_sizes(sim, plan)[first:]
    effective = sim.strategy.inner.effective(torch.tensor(rates))
    counts = torch.from_numpy(sim.clients.counts[members])

    def placed(value: Any) -> Tensor:
        # With a dtype: a Python number would be rounded to float32 first.
        return torch.as_tensor(value, dtype=like.dtype).to(like.device)

    return Round(
        round_index=plan.round_index,
        read=broadcast_rows(state.server.anchor, torch.from_numpy(members).to(like.device)),
        weights=placed(sim.strategy.mixing.weigh(counts, steps)),
        fraction=len(members) / len(sim.clients),
        lr=placed(mean_step_size(sim, plan)),
        steps=placed(steps),
        step_sums=placed(torch.cumsum(effective, 0)[answered - 1]),
    )


def _record(sim: Simulation, state: RunState, plan: RoundPlan, answers: Answers) -> RoundRecord:
    answered = isin(plan.invited, answers.members)
    steps = np.zeros(len(plan.invited), dtype=np.int64)
    steps[answered] = plan.steps[isin(plan.members, answers.members)]
    up = np.zeros(len(plan.invited), dtype=np.int64)
    if answers.uploads is not None:
        up[answered] = sim.messages.upload_nbytes(answers.uploads)
    up, down = traffic(sim, state, plan, up)
    return RoundRecord(
        round_index=state.round_index,
        clients=plan.invited,
        steps=steps,
        uplink_bytes=up,
        downlink_bytes=down,
        overlapped=sim.strategy.timing is Timing.OVERLAPPED,
        lasts=lasts(plan, answers),
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
