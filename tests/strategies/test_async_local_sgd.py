from dataclasses import replace

import pytest

from fedlocal.rounds.clock import Clock
from fedlocal.slots import Timing
from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.outer.sgd import OuterSGD
from strategies.async_local_sgd import async_local_sgd
from strategies.local_sgd import local_sgd
from tests.choices import every_pair
from tests.oracles.async_local_sgd import async_local_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate
from tests.timing import CLOCKS, away

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("clock", CLOCKS, ids=["constant", "exponential"])
@pytest.mark.parametrize(("period", "momentum"), [(1, 0.0), (4, 0.0), (3, 0.9)])
def test_is_algorithm_2(runtime, clock, period, momentum):
    strategy = async_local_sgd(0.02, period, momentum=momentum)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime, clock=clock)
    x, staleness = oracle(
        PROBLEM.gradients, PROBLEM.start, 0.02, period, away(clock, PROBLEM, period), ROUNDS * K,
        momentum,
    )  # fmt: skip
    assert distance(result.params, x) < 1e-12
    means = [sum(staleness[t * K : (t + 1) * K]) / K for t in range(ROUNDS)]
    assert [row["staleness"] for row in result.history] == pytest.approx(means, abs=1e-12)


def test_equal_clients_are_as_stale_as_there_are_others():
    result = simulate(PROBLEM, async_local_sgd(0.02, 2), ROUNDS, clock=CLOCKS[0])
    # In the first round the first has missed nobody, the second one, and so on.
    assert result.history[0]["staleness"] == (K - 1) / 2
    assert [row["staleness"] for row in result.history[1:]] == [K - 1] * (ROUNDS - 1)


def test_behind_a_barrier_it_is_local_sgd():
    strategy = replace(async_local_sgd(0.02, 4), timing=Timing.BARRIER)
    ours = simulate(PROBLEM, strategy, ROUNDS, batch_size=2, seed=1)
    theirs = simulate(PROBLEM, local_sgd(0.02, 4), ROUNDS, batch_size=2, seed=1)
    assert distance(ours.params, theirs.params) < 1e-12


def test_is_not_local_sgd():
    ours = simulate(PROBLEM, async_local_sgd(0.02, 4), ROUNDS, seed=1)
    theirs = simulate(PROBLEM, local_sgd(0.02, 4), ROUNDS, seed=1)
    assert distance(ours.params, theirs.params) > 1e-3


def test_nobody_waits_for_the_slowest():
    clock = Clock("exponential", 0.2, latency_seconds=0.0, bandwidth_bytes=float("inf"))
    ours = simulate(PROBLEM, async_local_sgd(0.02, 1), 50, clock=clock)
    theirs = simulate(PROBLEM, local_sgd(0.02, 1), 50, clock=clock)
    # K exchanges take about as long as one client's round; the slowest of five takes 2.3 times.
    assert ours.history[-1]["sim_seconds"] < 0.6 * theirs.history[-1]["sim_seconds"]


def test_every_exchange_is_counted():
    result = simulate(PROBLEM, async_local_sgd(0.02, 2), ROUNDS)
    message = 32 + 8 * len(PROBLEM.start)
    assert result.history[-1]["uplink_bytes"] == ROUNDS * K * message
    assert result.history[-1]["downlink_bytes"] == ROUNDS * K * message
    assert result.ledger.records[0].steps.tolist() == [2] * K


def test_a_lossy_uplink_owes_nothing_in_the_end():
    strategy = replace(async_local_sgd(0.02, 2), uplink=ErrorFeedback(TopK(0.3)))
    result = simulate(PROBLEM, strategy, 200)
    exact = simulate(PROBLEM, async_local_sgd(0.02, 2), 200)
    assert distance(result.params, exact.params) < 0.1


@pytest.mark.parametrize(
    ("slot", "piece"),
    [
        ("outer", OuterSGD(momentum=0.9)),
        ("inner", Momentum(0.1, buffers="average")),
        ("mixing", local_sgd().mixing),
    ],
)
def test_what_needs_a_barrier_is_refused(slot, piece):
    with pytest.raises(ValueError, match="breaks that"):
        replace(async_local_sgd(0.1, 4), **{slot: piece})


def test_what_has_no_cohorts_is_not_sampled():
    with pytest.raises(ValueError, match="asynchronous"):
        simulate(PROBLEM, async_local_sgd(0.1, 4), 1, participation=0.5)
