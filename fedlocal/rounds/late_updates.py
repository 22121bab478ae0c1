"""Members and steps that fit within a deadline, and late updates.

A late update counts in the next round.
"""

from math import inf
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.rounds.client import Upload
from fedlocal.rounds.clock import FloatArray, together
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import Answers, RoundPlan, RunState, Simulation
from fedlocal.rounds.traffic import traffic
from fedlocal.slots import Round, Timing
from fedlocal.utils.arrays import IntArray, isin
from fedlocal.vectors.trees import Tree, concatenate, take

# Tolerance for rounding in sums of times.
ALLOWANCE = 1 + 1e-9


class ReceivedUpdates(NamedTuple):
    """Updates that the server applies in one round.

    members: Ids of the senders, [S].
    uploads: Their uploads, every tensor [S, ...].
    noise: Uniforms that the uploads were encoded with, [S, n].
    info: Weights, steps and step sizes of the members.
    ages: Rounds since each of them was invited, [S].
    """

    members: IntArray
    uploads: Upload
    noise: Tensor
    info: Round
    ages: IntArray


class LateUpdates(NamedTuple):
    """Updates that missed the deadline; the last arrives `seconds` into the next round."""

    received: ReceivedUpdates
    seconds: float


def not_busy(state: RunState, clients: IntArray) -> IntArray:
    """Return the clients that are not still busy with the round before."""
    return clients if state.late == () else clients[~np.isin(clients, state.late.received.members)]


def within_deadline(sim: Simulation, state: RunState, plan: RoundPlan) -> RoundPlan:
    """Restrict the plan to the members and steps that fit within the deadline."""
    end, stop = sim.deadline.limit, sim.strategy.period.seconds_limit
    if end == stop == inf:
        return plan
    overlapped = sim.strategy.timing is Timing.OVERLAPPED
    who, t = plan.members, plan.round_index
    travel = _travel(sim, state, plan)
    room = np.full(len(who), stop)
    if sim.deadline.late == "partial":
        room = np.minimum(room, _left(travel, end, overlapped))
    steps = sim.clock.steps_within(room, who, plan.steps, t, sim.seed)
    compute = sim.clock.compute_seconds(who, steps, t, sim.seed)
    needs = together(travel, compute, overlapped)
    patience = 2 * end if sim.deadline.late == "next_round" else end
    # A client that stops before its first shared step has nothing to send.
    kept = (steps > sim.personal_steps) & (needs <= patience * ALLOWANCE)
    # Clients that were cut short worked until the limit.
    busy = together(travel, room, overlapped)[kept & (steps < plan.steps)]
    return plan._replace(
        members=who[kept],
        steps=steps[kept],
        late=who[kept & (needs > end * ALLOWANCE)],
        lasts=(float(min(busy.max(initial=_awaited(state)), end)), end),
    )


def lasts(plan: RoundPlan, answers: Answers) -> tuple[float, float]:
    """Return bounds of the round's length; missing members keep it open until the deadline."""
    least, most = plan.lasts
    if most == inf:
        return least, most
    here = np.isin(plan.invited, np.setdiff1d(answers.members, plan.late))
    return (least if here.all() else most), most


def _awaited(state: RunState) -> float:
    """Return the seconds until the last late update of the round before arrives."""
    return 0.0 if state.late == () else state.late.seconds


def _travel(sim: Simulation, state: RunState, plan: RoundPlan) -> FloatArray:
    """Return the seconds that the longest messages to and from each member take, [S]."""
    at_work = isin(plan.invited, plan.members)
    uploads = np.full(len(plan.invited), sim.messages.upload.nbytes)
    up, down = traffic(sim, state, plan, uploads)
    clock, who = sim.clock, plan.members
    return clock.travel_seconds(who, up[at_work]) + clock.travel_seconds(who, down[at_work])


def _left(travel: FloatArray, end: float, overlapped: bool) -> FloatArray:
    """Return the seconds left for computing, negative where messages alone take too long, [S]."""
    return np.where(travel <= end, end, -1.0) if overlapped else end - travel


def split_by_deadline(
    sim: Simulation,
    before: Tree,
    plan: RoundPlan,
    record: RoundRecord,
    received: ReceivedUpdates | None,
) -> tuple[ReceivedUpdates | None, Tree]:
    """Return the updates that count in this round, and those kept for the next.

    Args:
        sim: The run.
        before: Late updates of the round before; () for none.
        plan: Plan of the round.
        record: Ledger record of the round.
        received: Updates of the round's members; None if nobody answered.
    """
    if before == () and len(plan.late) == 0:
        return received, ()
    counted, kept = [] if before == () else [before.received], ()
    if received is not None:
        tardy = np.isin(received.members, plan.late)
        if tardy.any():
            kept = LateUpdates(_part(received, tardy, age=1), _overdue(sim, record, plan))
        if not tardy.all():
            counted.append(_part(received, ~tardy))
    return _joined(sim, plan.round_index, counted), kept


def _overdue(sim: Simulation, record: RoundRecord, plan: RoundPlan) -> float:
    seconds = sim.clock.client_seconds(record, sim.seed)
    return float(seconds[np.isin(record.clients, plan.late)].max()) - sim.deadline.limit


def _part(received: ReceivedUpdates, rows: NDArray[np.bool_], age: int = 0) -> ReceivedUpdates:
    """Select the given rows; their weights are computed later."""
    ids = torch.from_numpy(rows).to(received.noise.device)
    uploads, noise, read, steps, sums = take(_tensors(received), ids)
    info = received.info._replace(read=read, steps=steps, step_sums=sums)
    return ReceivedUpdates(received.members[rows], uploads, noise, info, received.ages[rows] + age)


def _joined(
    sim: Simulation, round_index: int, all_received: list[ReceivedUpdates]
) -> ReceivedUpdates | None:
    """Join updates into those of this round."""
    if not all_received:
        return None
    last = all_received[-1].info
    members = np.concatenate([received.members for received in all_received])
    uploads, noise, read, steps, sums = concatenate(
        [_tensors(received) for received in all_received]
    )
    counts = torch.from_numpy(sim.clients.counts[members])
    weights = sim.strategy.mixing.weigh(counts, steps.cpu().double())
    info = Round(
        round_index=round_index,
        read=read,
        weights=weights.to(last.weights),
        fraction=len(members) / len(sim.clients),
        lr=last.lr,
        steps=steps,
        step_sums=sums,
    )
    return ReceivedUpdates(
        members, uploads, noise, info, np.concatenate([received.ages for received in all_received])
    )


def _tensors(received: ReceivedUpdates) -> Tree:
    return (
        received.uploads,
        received.noise,
        received.info.read,
        received.info.steps,
        received.info.step_sums,
    )
