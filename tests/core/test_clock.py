"""Simulated seconds: by hand, against theory, and replayed from the ledger."""

from itertools import pairwise

import numpy as np
import pytest

from fedlocal import Clock, DropOut
from fedlocal.ledger import RoundRecord
from strategies.double_compression import double_compression
from strategies.fedavg import fedavg
from strategies.local_sgd import local_sgd
from tests.problems import simulate, two_layers


def record(steps, up, down, clients=None, round_index=0):
    clients = range(len(steps)) if clients is None else clients
    return RoundRecord(round_index, *map(np.array, (list(clients), steps, up, down)))


def test_a_round_by_hand():
    clock = Clock(seconds_per_step=0.5, latency_seconds=0.25, bandwidth_bytes=1000)
    # Down 0.25 + 2, four steps 2, up 0.25 + 1: client 0. Client 1: 0.25 + 2 + 1.5 + 0.25 + 3.
    assert clock.seconds(record([4], [1000], [2000]), seed=0) == 5.5
    assert clock.seconds(record([3], [3000], [2000]), seed=0) == 7.0
    assert clock.seconds(record([4, 3], [1000, 3000], [2000, 2000]), seed=0) == 7.0


def test_two_rounds_by_hand():
    """Five clients, 2 steps of 10 ms; 224 and 76 bytes at 1000 bytes a second, 50 ms latency."""
    clock = Clock(seconds_per_step=0.01, latency_seconds=0.05, bandwidth_bytes=1000)
    strategy = double_compression(0.05, 2)
    result = simulate(two_layers(), strategy, 2, clock=clock)
    # One value and one index of 5 bits: 32 + 8 + 1 bytes.
    first = (0.05 + 0.224) + 0.02 + (0.05 + 0.041)
    second = (0.05 + 0.041) + 0.02 + (0.05 + 0.041)
    seconds = [row["sim_seconds"] for row in result.history]
    assert seconds == pytest.approx([first, first + second], rel=1e-12)


def test_who_does_not_answer_is_only_sent_to():
    clock = Clock(seconds_per_step=1.0, latency_seconds=0.25, bandwidth_bytes=100)
    assert clock.seconds(record([0], [0], [200]), seed=0) == 2.25
    # The slow broadcast to the silent one still holds up the round.
    assert clock.seconds(record([1, 0], [100, 0], [100, 900]), seed=0) == 9.25
    silent = Clock("exponential", 1.0, 0.25, 100)
    assert silent.seconds(record([0], [0], [200]), seed=0) == 2.25


def test_an_empty_round_takes_no_time():
    for law in ("constant", "exponential"):
        assert Clock(law).seconds(record([], [], []), seed=0) == 0.0


def test_a_link_that_costs_nothing():
    clock = Clock(seconds_per_step=0.5, latency_seconds=0.0, bandwidth_bytes=float("inf"))
    assert clock.seconds(record([4, 6], [10**9, 1], [10**12, 1]), seed=0) == 3.0


def test_free_compute_and_free_links_take_no_time():
    clock = Clock("exponential", 0.0, 0.0, float("inf"))
    assert clock.seconds(record([4, 6], [10**9, 1], [10**12, 1]), seed=0) == 0.0


FREE = {"latency_seconds": 0.0, "bandwidth_bytes": float("inf")}


def samples(clients, steps, seeds, mean=0.5):
    clock = Clock("exponential", mean, **FREE)
    cohort = record([steps] * clients, [1] * clients, [1] * clients)
    return np.array([clock.seconds(cohort, seed) for seed in range(seeds)])


@pytest.mark.parametrize("clients", [1, 2, 5, 16])
def test_the_slowest_of_exponential_steps(clients):
    """E max of n exponentials is the n-th harmonic number; its variance is sum of 1 / i^2."""
    index, count = np.arange(1, clients + 1), 2000
    drawn = samples(clients, 1, count)
    error = 0.5 * np.sqrt((1 / index**2).sum() / count)
    assert abs(drawn.mean() - 0.5 * (1 / index).sum()) < 5 * error


@pytest.mark.parametrize(("clients", "steps"), [(1, 10), (4, 5), (8, 20)])
def test_the_slowest_of_sums_of_exponential_steps(clients, steps):
    rng = np.random.default_rng(1)
    theory = 0.5 * rng.exponential(size=(20_000, clients, steps)).sum(2).max(1)
    drawn = samples(clients, steps, 2000)
    error = np.sqrt(theory.var() / len(theory) + theory.var() / len(drawn))
    assert abs(drawn.mean() - theory.mean()) < 5 * error
    assert drawn.std() == pytest.approx(theory.std(), rel=0.1)


def test_exponential_times_are_keyed_by_seed_client_and_round():
    clock = Clock("exponential", 0.5, **FREE)

    def of(seed, client, round_index):
        one = record([7], [1], [1], [client], round_index)
        return clock.seconds(one, seed)

    keys = [(s, c, t) for s in (0, 1, -5) for c in (0, 1, 9) for t in (0, 1, 2)]
    times = [of(*key) for key in keys]
    assert times == [of(*key) for key in keys]
    assert len(set(times)) == len(times)


def test_exponential_times_do_not_know_the_order_or_company_of_the_cohort():
    clock = Clock("exponential", 0.5, latency_seconds=0.1, bandwidth_bytes=1000)
    whole = record([7, 3, 9, 1], [10, 20, 30, 40], [40, 30, 20, 10], [4, 8, 15, 16], 2)
    order = np.array([2, 0, 3, 1])
    turned = RoundRecord(2, *(column[order] for column in whole[1:5]))
    assert clock.seconds(turned, 5) == clock.seconds(whole, 5)
    alone = [RoundRecord(2, *(column[[i]] for column in whole[1:5])) for i in range(4)]
    assert clock.seconds(whole, 5) == max(clock.seconds(one, 5) for one in alone)


CLOCKS = [
    Clock(),
    Clock("exponential", 0.2, 0.1, 5000),
    Clock("exponential", 0.2, 0.0, float("inf")),
]
RUNS = {
    "compressed": (double_compression(0.05, 2), {"participation": 0.6}),
    "unequal": (fedavg(0.05, epochs=2), {"faults": DropOut(0.3), "batch_size": 2}),
}


@pytest.mark.parametrize(("strategy", "options"), RUNS.values(), ids=RUNS)
def test_the_ledger_can_be_replayed_under_any_law(strategy, options):
    seed = -7
    results = {
        clock: simulate(two_layers(), strategy, 6, clock=clock, seed=seed, **options)
        for clock in CLOCKS
    }
    for clock, run in results.items():
        seconds = [row["sim_seconds"] for row in run.history]
        assert all(a < b for a, b in pairwise([0.0, *seconds]))
        for other in results.values():
            each = [clock.seconds(record, seed) for record in other.ledger.records]
            assert seconds == pytest.approx(np.cumsum(each).tolist(), rel=1e-14)


def test_more_local_steps_take_longer_and_send_no_more():
    short = simulate(two_layers(), local_sgd(0.05, 2), 3)
    long = simulate(two_layers(), local_sgd(0.05, 20), 3)
    assert short.ledger.uplink_bytes == long.ledger.uplink_bytes
    gained = long.history[-1]["sim_seconds"] - short.history[-1]["sim_seconds"]
    assert gained == pytest.approx(3 * 18 * 0.01)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"law": "gaussian"}, "clock.law must be constant or exponential, got 'gaussian'"),
        ({"seconds_per_step": -1.0}, r"must be >= 0, got -1\.0 and 0\.05"),
        ({"latency_seconds": -1.0}, r"must be >= 0, got 0\.01 and -1\.0"),
        ({"bandwidth_bytes": 0.0}, "clock.bandwidth_bytes must be positive, got 0.0; use .inf"),
        ({"bandwidth_bytes": float("nan")}, "clock.bandwidth_bytes must be positive, got nan"),
    ],
)
def test_wrong_clocks_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Clock(**options)
