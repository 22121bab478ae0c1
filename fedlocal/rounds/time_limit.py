"""A round with a time limit: who can make it, and with how many steps."""

from math import inf

import numpy as np

from fedlocal.data.clients import among
from fedlocal.rounds.clock import FloatArray, together
from fedlocal.rounds.deadline import computing_limit
from fedlocal.rounds.state import Answers, Order, RunState, Simulation
from fedlocal.rounds.traffic import largest_upload, traffic
from fedlocal.slots import Timing

# Sums of times are exact to fewer digits than the times.
ALLOWANCE = 1 + 1e-9


def in_time(sim: Simulation, state: RunState, order: Order) -> Order:
    """The order, to those who can make it, with the steps that they can make."""
    end, stop = sim.deadline.limit, computing_limit(sim.strategy.period)
    if end == stop == inf:
        return order
    overlapped = sim.strategy.timing is Timing.OVERLAPPED
    who, t = order.members, order.round_index
    travel = _travel(sim, state, order)
    room = np.full(len(who), stop)
    if sim.deadline.late == "partial":
        room = np.minimum(room, _left(travel, end, overlapped))
    steps = sim.clock.steps_within(room, who, order.steps, t, sim.seed)
    compute = sim.clock.compute_seconds(who, steps, t, sim.seed)
    needs = together(travel, compute, overlapped)
    patience = 2 * end if sim.deadline.late == "next_round" else end
    # A client that is stopped before its shared steps has nothing to send.
    kept = (steps > sim.personal_steps) & (needs <= patience * ALLOWANCE)
    # Who was stopped had been at work until then.
    busy = together(travel, room, overlapped)[kept & (steps < order.steps)]
    return order._replace(
        members=who[kept],
        steps=steps[kept],
        late=who[kept & (needs > end * ALLOWANCE)],
        lasts=(float(min(busy.max(initial=_awaited(state)), end)), end),
    )


def lasts(order: Order, answers: Answers) -> tuple[float, float]:
    """Bounds of the round's length: for who is missing, the others wait until the deadline."""
    least, most = order.lasts
    if most == inf:
        return least, most
    here = np.isin(order.invited, np.setdiff1d(answers.members, order.late))
    return (least if here.all() else most), most


def _awaited(state: RunState) -> float:
    """Seconds until the last message of the round before is there."""
    return 0.0 if state.late == () else state.late.seconds


def _travel(sim: Simulation, state: RunState, order: Order) -> FloatArray:
    """What the longest messages to and from each member take, [S]."""
    at_work = among(order.invited, order.members)
    uploads = np.full(len(order.invited), largest_upload(sim, state.server))
    up, down = traffic(sim, state, order, uploads)
    clock, who = sim.clock, order.members
    return clock.travel_seconds(who, up[at_work]) + clock.travel_seconds(who, down[at_work])


def _left(travel: FloatArray, end: float, overlapped: bool) -> FloatArray:
    """Seconds that are left for computing, negative where even the messages take too long, [S]."""
    return np.where(travel <= end, end, -1.0) if overlapped else end - travel
