"""Simulated seconds: by hand, against theory, and replayed from the ledger."""

from itertools import pairwise

import numpy as np
import pytest

from fedlocal import Clock, DropOut
from fedlocal.rounds.clock import Constant, Pareto, ShiftedExponential, Trace, read_trace
from fedlocal.rounds.ledger import RoundRecord
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
    Clock(Pareto(1.5), (0.2, 0.1, 0.4), (0.1, 0.0), (1e3, 1e4, 1e5), spread=0.7),
    Clock(Trace(((0.1, 0.2), (0.3, 0.4), (0.5, 0.6))), 2.0),
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
        (
            {"law": "gaussian"},
            "clock.law must be constant or exponential, got 'gaussian'; clock=pareto",
        ),
        ({"seconds_per_step": -1.0}, r"must be >= 0 and finite, got -1\.0 and 0\.05"),
        ({"latency_seconds": -1.0}, r"must be >= 0 and finite, got 0\.01 and -1\.0"),
        ({"bandwidth_bytes": 0.0}, "clock.bandwidth_bytes must be positive, got 0.0; inf"),
        ({"bandwidth_bytes": float("nan")}, "clock.bandwidth_bytes must be positive, got nan"),
        ({"bandwidth_bytes": [1.0, 0.0]}, r"clock.bandwidth_bytes must be positive, got \[1\.0, 0"),
        ({"seconds_per_step": []}, "must be >= 0 and finite, got \\[\\] and 0.05"),
        ({"latency_seconds": [0.1, -0.1]}, "must be >= 0 and finite, got 0.01 and"),
        ({"spread": -0.1}, "clock.spread must be >= 0, got -0.1; 0 makes all clients equally fast"),
        ({"spread": float("inf")}, "clock.spread must be finite, got inf"),
    ],
)
def test_wrong_clocks_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Clock(**options)


CLIENTS = np.arange(8)
RANDOM = [ShiftedExponential(0.0), ShiftedExponential(0.3), Pareto(2.5), Pareto(1.2)]
LAWS = [Constant(), *RANDOM, Trace(((0.5, 2.0, 1.0), (1.0, 0.1, 3.0)))]


def each(law, count, clients=1, round_index=0, seed=0):
    return np.array([law.steps(count, client, round_index, seed) for client in range(clients)])


@pytest.mark.parametrize("law", RANDOM[:3], ids=str)
def test_a_step_takes_the_mean_on_average(law):
    drawn = each(law, 1000, clients=200)
    error = drawn.std() / np.sqrt(drawn.size)
    assert abs(drawn.mean() - 1) < 5 * error


def test_a_shifted_exponential_takes_its_shift_for_certain():
    drawn = each(ShiftedExponential(0.3), 1000, clients=100)
    assert drawn.min() > 0.3
    assert drawn.std() == pytest.approx(0.7, rel=0.02)
    assert (each(ShiftedExponential(1.0), 5) == each(Constant(), 5)).all()


@pytest.mark.parametrize("shape", [1.2, 2.5])
def test_pareto_tails(shape):
    drawn = each(Pareto(shape), 2000, clients=100)
    shortest = (shape - 1) / shape
    assert drawn.min() > shortest
    for t in (2, 5, 10):
        share, expected = (drawn > t * shortest).mean(), t**-shape
        assert abs(share - expected) < 5 * np.sqrt(expected / drawn.size)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_first_steps_are_the_same_however_many_are_asked_for(law):
    for client in range(3):
        long = law.steps(9, client, 1, 5)
        for count in range(9):
            assert law.steps(count, client, 1, 5).tolist() == long[:count].tolist()


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_totals_are_the_sums_of_the_steps(law):
    counts, clients = np.array([3, 1, 7]), np.array([4, 0, 2])
    each = zip(counts.tolist(), clients.tolist(), strict=True)
    sums = [law.steps(count, client, 5, 1).sum() for count, client in each]
    assert law.totals(counts, clients, 5, 1).tolist() == sums


@pytest.mark.parametrize("law", RANDOM, ids=str)
def test_random_steps_are_keyed_by_seed_client_and_round(law):
    keys = [(c, t, s) for c in (0, 1, 9) for t in (0, 1, 2) for s in (0, 1, -5)]
    times = [float(law.steps(3, *key).sum()) for key in keys]
    assert times == [float(law.steps(3, *key).sum()) for key in keys]
    assert len(set(times)) == len(times)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_what_fits_into_a_time_takes_no_longer(law):
    clock, seed = Clock(law, [0.01, 0.03, 0.002], spread=0.5), 3
    for t in range(4):
        limits = np.linspace(0.0, 0.4, len(CLIENTS))
        most = np.arange(len(CLIENTS)) * 5
        steps = clock.steps_within(limits, CLIENTS, most, t, seed)
        assert (steps <= most).all()
        taken = clock.compute_seconds(CLIENTS, steps, t, seed)
        assert (taken <= limits * (1 + 1e-9)).all()
        longer = clock.compute_seconds(CLIENTS, np.minimum(steps + 1, most), t, seed)
        assert ((longer > limits) | (steps == most)).all()


def test_steps_within_by_hand():
    clock = Clock(seconds_per_step=[0.01, 0.02, 0.0])
    limits = np.array([0.1, 0.099, 0.0, -1.0, 0.1, -0.1])
    steps = clock.steps_within(limits, np.arange(6), np.full(6, 20), 0, 0)
    # Ten steps of 0.01 are within 0.1; who computes in no time still needs a time that is one.
    assert steps.tolist() == [10, 4, 20, 0, 5, 0]


def test_lists_are_cycled_over_the_clients():
    clock = Clock("constant", [1.0, 2.0], [0.5, 0.25, 0.125], [100.0, 10.0])
    steps = np.full(4, 3)
    assert clock.compute_seconds(np.array([0, 1, 2, 7]), steps, 0, 0).tolist() == [3, 6, 3, 6]
    assert clock.travel_seconds(np.arange(4), np.full(4, 100)).tolist() == [1.5, 10.25, 1.125, 10.5]
    whole = clock.client_seconds(record([3, 0], [100, 0], [200, 50]), seed=0)
    assert whole.tolist() == [2.5 + 3 + 1.5, 5.25]


def test_an_overlapped_round_takes_the_longer_of_both():
    clock = Clock("constant", [1.0, 0.1], 0.5, 100.0)
    each = record([3, 3], [100, 100], [100, 100])
    assert clock.client_seconds(each._replace(overlapped=True), 0).tolist() == [3.0, 3.0]
    assert clock.client_seconds(each, 0).tolist() == pytest.approx([6.0, 3.3])
    quick = Clock("constant", 0.1, 0.5, 100.0)
    assert quick.seconds(each._replace(overlapped=True), 0) == 3.0


def test_a_record_knows_how_long_others_waited():
    clock = Clock("constant", 1.0, 0.0, float("inf"))
    one = record([3], [1], [1])
    for bounds, seconds in [((0.0, 9.0), 3.0), ((5.0, 9.0), 5.0), ((2.0, 2.0), 2.0)]:
        assert clock.seconds(one._replace(lasts=bounds), 0) == seconds


def test_some_clients_are_always_slow():
    clock, many = Clock(spread=0.8), np.arange(4000)
    one = np.ones_like(many)
    times = clock.compute_seconds(many, one, 0, seed=1)
    assert (clock.compute_seconds(many, one, 7, seed=1) == times).all()
    assert (clock.compute_seconds(many[::-1], one, 7, seed=1) == times[::-1]).all()
    logs = np.log(times / 0.01) / 0.8
    assert abs(logs.mean()) < 5 / np.sqrt(len(many))
    assert logs.std() == pytest.approx(1.0, rel=0.06)
    assert np.abs(np.log(clock.compute_seconds(many, one, 0, seed=2) / times)).min() > 0


def test_a_trace_is_cycled_over_rounds_and_clients():
    clock = Clock(Trace.of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 0.5)
    seconds = [
        clock.compute_seconds(np.array([0, 4, 2]), np.array([1, 2, 3]), t, 0) for t in range(4)
    ]
    assert seconds[0].tolist() == seconds[2].tolist() == [0.5, 2.0, 4.5]
    assert seconds[1].tolist() == seconds[3].tolist() == [2.0, 5.0, 9.0]


def test_traces_in_files(tmp_path):
    table = [[0.25, 1e-3], [3.0, 4.0]]
    (tmp_path / "a.csv").write_text("0.25, 1e-3\n3,4\n\n")
    np.save(tmp_path / "b.npy", np.array(table))
    assert read_trace(str(tmp_path / "a.csv")) == read_trace(str(tmp_path / "b.npy"))
    assert read_trace(str(tmp_path / "a.csv")) == Trace.of(table)


DAMAGED = {
    "words": ("a,b\n", "could not convert string to float: 'a'"),
    "ragged": ("1,2\n3\n", "is not a trace"),
    "negative": ("1,-2\n", "numbers >= 0 only"),
    "nan": ("1,nan\n", "numbers >= 0 only"),
    "empty": ("", "a row per round and a column per client, got shape"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_traces_are_refused(tmp_path, name):
    text, says = DAMAGED[name]
    path = tmp_path / f"{name}.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as refusal:
        read_trace(str(path))
    assert str(path) in str(refusal.value)


def test_no_trace_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*x.csv; clock.law.path is"):
        read_trace(str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ShiftedExponential(1.1), r"clock.law.shift must be in \[0, 1\], got 1.1"),
        (lambda: Pareto(1.0), "clock.law.shape must be above 1, got 1.0"),
        (lambda: Pareto(float("nan")), "clock.law.shape must be above 1, got nan"),
    ],
)
def test_laws_without_a_mean_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
