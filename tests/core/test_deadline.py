"""Rounds with a deadline: by hand, against plain numpy, and what is refused."""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fedlocal import Clock, DropOut
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.state import initial_state
from fedlocal.slots import Timing
from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.period import FixedTime
from strategies.async_local_sgd import async_local_sgd
from strategies.d_psgd import d_psgd
from strategies.double_compression import double_compression
from strategies.easgd import easgd
from strategies.fedopt import fedopt
from strategies.fedprox import fedprox
from strategies.local_sgd import local_sgd
from strategies.scaffold import scaffold
from strategies.slowmo import slowmo
from strategies.vrl_sgd import vrl_sgd
from tests.problems import RUNTIMES, distance, least_squares, simulate
from tests.ragged import simulation

PROBLEM = least_squares()
LR = 0.05
# Messages take 0.1 seconds each way, and ten steps 0.1, 0.2, 0.4, 0.8, 1.6.
SPEEDS = (0.01, 0.02, 0.04, 0.08, 0.16)
CLOCK = Clock("constant", SPEEDS, latency_seconds=0.1, bandwidth_bytes=float("inf"))
LATENESS = ("partial", "drop", "next_round")


def run(deadline, rounds=4, strategy=None, clock=CLOCK, **options):
    strategy = strategy or local_sgd(LR, 10)
    return simulate(PROBLEM, strategy, rounds, clock=clock, deadline=deadline, **options)


def local(gradient, x, steps):
    y = x.copy()
    for _ in range(steps):
        y -= LR * gradient(y)
    return y


def seconds(result):
    ends = [0.0, *(row["sim_seconds"] for row in result.history)]
    return [b - a for a, b in pairwise(ends)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_partial_work_against_numpy(runtime):
    result = run(Deadline(0.55), runtime=runtime)
    # 0.35 seconds are left for computing.
    steps = [10, 10, 8, 4, 2]
    x = PROBLEM.start
    for record in result.ledger.records:
        assert record.steps.tolist() == steps
        ends = [local(g, x, h) for g, h in zip(PROBLEM.gradients, steps, strict=True)]
        x = np.mean(ends, axis=0)
    assert distance(result.params, x) < 1e-12
    assert seconds(result) == pytest.approx([0.55] * 4)


def test_who_manages_no_step_does_not_answer():
    result = run(Deadline(0.34))
    assert [r.steps.tolist() for r in result.ledger.records] == [[10, 7, 3, 1, 0]] * 4
    assert [(r.uplink_bytes > 0).tolist() for r in result.ledger.records] == [
        [True] * 4 + [False]
    ] * 4
    assert [row["answered"] for row in result.history] == [4] * 4
    assert seconds(result) == pytest.approx([0.34] * 4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_who_is_late_is_dropped(runtime):
    result = run(Deadline(0.61, "drop"), runtime=runtime)
    x = PROBLEM.start
    for record in result.ledger.records:
        assert record.steps.tolist() == [10, 10, 10, 0, 0]
        assert (record.downlink_bytes > 0).all()
        x = np.mean([local(g, x, 10) for g in PROBLEM.gradients[:3]], axis=0)
    assert distance(result.params, x) < 1e-12
    assert seconds(result) == pytest.approx([0.61] * 4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_who_is_late_counts_in_the_next_round(runtime):
    """Client 3 needs 1 second: it begins in every other round. Client 4 needs more than twice."""
    result = run(Deadline(0.61, "next_round"), rounds=5, runtime=runtime)
    x, late = PROBLEM.start, []
    for t, record in enumerate(result.ledger.records):
        changes = [local(g, x, 10) - x for g in PROBLEM.gradients[:4]]
        if t % 2 == 0:
            assert record.clients.tolist() == [0, 1, 2, 3, 4]
            assert record.steps.tolist() == [10, 10, 10, 10, 0]
            counted, late = changes[:3], changes[3:]
        else:
            assert record.clients.tolist() == [0, 1, 2, 4]
            counted, late = late + changes[:3], []
        x = x + np.mean(counted, axis=0)
        assert result.history[t]["answered"] == 3 + t % 2
    assert distance(result.params, x) < 1e-12
    # Client 4 is waited for in vain in every round.
    assert seconds(result) == pytest.approx([0.61] * 5)


def test_the_next_round_lasts_until_what_is_late_is_there():
    quick = Clock("constant", (0.01, 0.08), 0.1, float("inf"))
    result = run(Deadline(0.61, "next_round"), clock=quick, rounds=4)
    # Slow ones need 1 second, 0.39 more than the round; the others 0.3.
    assert seconds(result) == pytest.approx([0.61, 0.39, 0.61, 0.39])


def test_late_weights_are_those_of_all_that_count():
    result = run(Deadline(0.61, "next_round"), 2, local_sgd(LR, 10, weights="examples"))
    sizes, x = np.array(PROBLEM.sizes), PROBLEM.start
    first = [local(g, x, 10) - x for g in PROBLEM.gradients[:4]]
    x = x + np.average(first[:3], axis=0, weights=sizes[:3])
    second = [first[3], *(local(g, x, 10) - x for g in PROBLEM.gradients[:3])]
    x = x + np.average(second, axis=0, weights=sizes[[3, 0, 1, 2]])
    assert distance(result.params, x) < 1e-12


def test_everybody_late_leaves_a_round_without_anybody():
    slow = Clock("constant", 0.08, 0.1, float("inf"))
    result = run(Deadline(0.61, "next_round"), clock=slow)
    assert [row["answered"] for row in result.history] == [0, 5, 0, 5]
    assert [len(record.clients) for record in result.ledger.records] == [5, 0, 5, 0]
    assert seconds(result) == pytest.approx([0.61, 0.39, 0.61, 0.39])
    x = PROBLEM.start
    for _ in range(2):
        x = np.mean([local(g, x, 10) for g in PROBLEM.gradients], axis=0)
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize("late", LATENESS)
def test_nobody_in_time_changes_nothing(late):
    result = run(Deadline(0.1, late))
    assert distance(result.params, PROBLEM.start) == 0
    assert seconds(result) == pytest.approx([0.1] * 4)


@pytest.mark.parametrize("late", LATENESS)
def test_who_is_silent_is_waited_for(late):
    everyone_quick = Clock("constant", 0.01, 0.1, float("inf"))
    dead = DropOut(outages=[[2, 1]])
    result = run(Deadline(0.61, late), clock=everyone_quick, faults=dead)
    assert seconds(result) == pytest.approx([0.3, 0.61, 0.61, 0.61])
    # Without a deadline it is known at once who is silent.
    assert seconds(run(None, clock=everyone_quick, faults=dead)) == pytest.approx([0.3] * 4)


def test_messages_leave_less_time():
    thin = Clock("constant", 0.01, 0.0, 1000.0)
    # 88 bytes each way, 0.176 seconds.
    assert [r.steps.tolist() for r in run(Deadline(0.25), clock=thin).ledger.records] == [
        [7] * 5
    ] * 4


def test_compressed_messages_leave_more_time():
    thin = Clock("constant", 0.01, 0.0, 1000.0)
    one_value = double_compression(LR, 10, TopK(0.1), TopK(0.1))
    result = run(Deadline(0.2), clock=thin, strategy=one_value)
    up, down = (result.ledger.records[1][i][0] / 1000 for i in (3, 4))
    assert up + down < 0.1
    assert result.ledger.records[0].steps.tolist() == [int((0.2 - up - 0.088) / 0.01)] * 5
    assert result.ledger.records[1].steps.tolist() == [10] * 5


@pytest.mark.parametrize("late", LATENESS)
def test_a_pickled_run_goes_on_to_the_same_bits(late):
    slow = Clock("exponential", (0.01, 0.03), spread=0.5)
    strategy = local_sgd(0.1, 4, momentum=0.9)
    sim = replace(simulation(strategy, rounds=6), clock=slow, deadline=Deadline(0.19, late))
    straight, resumed, kept = initial_state(sim), initial_state(sim), 0
    for _ in range(6):
        straight = advance(sim, straight)[0]
        resumed = pickle.loads(pickle.dumps(advance(sim, resumed)[0]))
        kept += straight.late != ()
    assert distance(straight.server.anchor, resumed.server.anchor) == 0
    assert straight.sim_seconds == resumed.sim_seconds
    assert (kept > 0) == (late == "next_round")


def message(strategy, late):
    with pytest.raises(ValueError) as refusal:
        run(Deadline(1.0, late), strategy=strategy)
    return str(refusal.value)


NEEDS_ALL = {"vrl_sgd": vrl_sgd(LR, 5), "d_psgd": d_psgd(LR)}


@pytest.mark.parametrize("late", LATENESS)
@pytest.mark.parametrize("name", NEEDS_ALL)
def test_methods_that_need_everyone_are_refused(name, late):
    line = message(NEEDS_ALL[name], late)
    assert "every client takes part in every round" in line or "same number of local" in line
    assert f"a deadline with late={late} breaks that. Use deadline=none" in line


def test_equal_steps_are_named_where_they_are_broken():
    assert "all clients take the same number of local steps" in message(vrl_sgd(LR, 5), "partial")


def test_states_tied_to_the_anchor_are_refused():
    for slot, strategy in {"correction": scaffold(LR, 5), "mixing": easgd(LR, 5, 0.1)}.items():
        line = message(strategy, "next_round")
        assert line.startswith(f"{slot}=") and "valid for the round's own anchor only" in line
    line = message(replace(local_sgd(LR, 5), timing=Timing.OVERLAPPED), "next_round")
    assert line.startswith("timing=overlapped counts every change a round late already")


@pytest.mark.parametrize("late", LATENESS)
def test_asynchronous_strategies_are_refused(late):
    assert "needs synchronous rounds" in message(async_local_sgd(LR, 5), late)


@pytest.mark.parametrize("late", LATENESS)
@pytest.mark.parametrize(
    "strategy",
    [
        fedprox(LR, 10, mu=0.1),
        fedopt(LR, 10),
        slowmo(LR, 10),
        local_sgd(LR, 10, momentum=0.5, buffers="average"),
        double_compression(LR, 10, ErrorFeedback(TopK(0.3)), ErrorFeedback(TopK(0.3))),
    ],
    ids=lambda s: type(s.outer).__name__ + type(s.correction).__name__ + type(s.uplink).__name__,
)
def test_the_others_train(strategy, late):
    result = run(Deadline(0.61, late), 6, strategy, participation=0.8)
    assert 1e-3 < distance(result.params, PROBLEM.start) < 1e2
    assert all(length <= 0.61 * (1 + 1e-9) for length in seconds(result))


def test_no_deadline_is_the_default():
    plain, none = (
        simulate(PROBLEM, vrl_sgd(LR, 5), 3, **o) for o in ({}, {"deadline": Deadline()})
    )
    assert distance(plain.params, none.params) == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Deadline(0.0), "deadline.seconds must be positive, got 0.0; null waits"),
        (lambda: Deadline(float("nan")), "deadline.seconds must be positive, got nan"),
        (lambda: Deadline(1.0, "later"), "must be partial, drop, next_round, got 'later'"),  # type: ignore[arg-type]
        (lambda: FixedTime(0.0), "seconds must be positive, got 0.0"),
        (lambda: FixedTime(1.0, 0), "most must be a whole number >= 1, got 0"),
    ],
)
def test_no_time_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
