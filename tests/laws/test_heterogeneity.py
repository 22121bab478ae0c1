"""Laws of unequal clients: deadlines, faults, fixed compute times, and the numbers that tell them.

Two runs with the same seed see the same mini-batches, so equalities hold on stochastic gradients
too. Speeds are chosen so that how many steps a client manages can be said beforehand.
"""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlocal
from fedlocal import Clock, DropOut
from fedlocal.data.clients import Clients
from fedlocal.rounds.clock import Pareto, ShiftedExponential, Trace
from fedlocal.rounds.deadline import Deadline
from partitions import label_blocks, redundant
from partitions.statistics import credit
from strategies.anytime_minibatch import anytime_minibatch
from strategies.fedavg import fedavg
from strategies.fednova import fednova
from strategies.fedopt import fedopt
from strategies.fedprox import fedprox
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.slowmo import slowmo
from tests.gaps import DIFFERENT, EXACT, end
from tests.laws.domain import crowds, law, rates, seeds
from tests.problems import (
    Problem,
    constant_gradients,
    distance,
    half_squared_error,
    identical_clients,
    least_squares,
    mean_output,
    points,
    simulate,
)

FREE = {"latency_seconds": 0.0, "bandwidth_bytes": float("inf")}


lateness = st.sampled_from(["partial", "drop", "next_round"])
methods = st.sampled_from([local_sgd, fedavg, slowmo, fedopt, partial(fedprox, mu=0.1)])
laws = st.sampled_from(
    ["constant", "exponential", ShiftedExponential(0.5), Pareto(1.5), Trace(((1.0, 3.0, 0.3),))]
)


def gap(problem: Problem, one, other, rounds=4, ours=None, theirs=None, **options) -> float:
    """How far apart two runs end; `ours` and `theirs` are what they do not share."""
    runs = ((one, ours or {}), (other, theirs or {}))
    return distance(*[end(problem, s, rounds, **options, **own).params for s, own in runs])


# Deadlines.


@law
@given(problem=crowds, method=methods, lr=rates, late=lateness, seed=seeds, speeds=laws)
def test_a_deadline_that_nobody_misses_changes_nothing(problem, method, lr, late, seed, speeds):
    clock = Clock(speeds, 0.01)
    slack = {"deadline": Deadline(1e6, late)}
    options = {"clock": clock, "seed": seed, "participation": 0.7}
    assert gap(problem, method(lr, 4), method(lr, 4), ours=slack, **options) == 0
    runs = [simulate(problem, method(lr, 4), 3, **options, **o) for o in (slack, {})]
    assert [row["sim_seconds"] for row in runs[0].history] == [
        row["sim_seconds"] for row in runs[1].history
    ]


@law
@given(speeds=laws, spread=st.floats(0, 1.5), late=lateness, seconds=st.floats(0.01, 0.5))
def test_no_round_is_longer_than_its_deadline(speeds, spread, late, seconds):
    clock = Clock(speeds, 0.01, (0.0, 0.01, 0.1), (1e3, 1e5), spread)
    options = {"clock": clock, "deadline": Deadline(seconds, late), "participation": 0.7}
    result = simulate(least_squares(), local_sgd(0.02, 7), 5, faults=DropOut(0.2), **options)
    for record in result.ledger.records:
        length = clock.seconds(record, 0)
        assert length <= seconds
        missing = (record.uplink_bytes == 0).any()
        assert length == seconds or not missing
        if late == "partial":
            busy = clock.client_seconds(record, 0)[record.steps > 0]
            assert (busy <= seconds * (1 + 1e-9)).all()


@law
@given(lr=rates, seed=seeds, late=st.sampled_from(["drop", "partial"]))
def test_who_never_makes_it_might_as_well_be_dead(lr, seed, late):
    clock = Clock("constant", (0.01, 0.01, 9.0), **FREE)
    ours = {"clock": clock, "deadline": Deadline(1.0, late)}
    theirs = {"faults": DropOut(outages=((2, 0),))}
    problem = least_squares((5, 6, 7), dim=4, seed=seed)
    assert gap(problem, local_sgd(lr, 4), local_sgd(lr, 4), ours=ours, theirs=theirs) < EXACT
    assert gap(problem, local_sgd(lr, 4), local_sgd(lr, 4), ours=ours) > DIFFERENT


@law
@given(lr=rates, seed=seeds)
def test_partial_work_is_a_run_of_fewer_steps_where_all_are_equally_slow(lr, seed):
    ours = {"clock": Clock("constant", 0.01, **FREE), "deadline": Deadline(0.035)}
    problem = least_squares((5, 6, 7), dim=4, seed=seed)
    assert gap(problem, local_sgd(lr, 8), local_sgd(lr, 3), ours=ours, seed=seed) < EXACT


def test_a_change_that_counts_late_is_the_same_change():
    """Where gradients are the same everywhere it does not matter when they are counted."""
    problem = constant_gradients(np.array([[1.0, 0.0], [0.0, 1.0]]))
    clock = Clock("constant", (0.01, 0.06), **FREE)
    late = {"clock": clock, "deadline": Deadline(0.05, "next_round"), "loss": mean_output}
    result = simulate(problem, local_sgd(0.1, 1), 4, **late)
    # Client 1 is late in rounds 0 and 2; with it the mean is halved.
    counted = problem.start - 0.1 * np.array([1 + 0.5 + 1 + 0.5, 2 * 0.5])
    assert [row["answered"] for row in result.history] == [1, 2, 1, 2]
    assert distance(result.params, counted) < EXACT


def converged(strategy, taus, **options):
    problem = points((1,) * len(taus))
    clock = Clock("constant", tuple(1 / tau for tau in taus), **FREE)
    late = {"clock": clock, "deadline": Deadline(1.0)}
    centres = np.array([target[0] for target in problem.targets])
    return simulate(problem, strategy, 300, **late, **options).params, centres


def test_partial_work_pulls_local_sgd_towards_fast_clients_and_fednova_not():
    """FedNova's Lemma 1 on |x - e_i|^2 / 2, with the numbers of steps that speeds allow."""
    taus = np.array([2, 4, 8])
    biased, centres = converged(local_sgd(2e-2, 100), taus)
    reached = 1 - (1 - 2e-2) ** taus
    assert distance(biased, reached @ centres / reached.sum()) < 1e-9
    fair, _ = converged(fednova(2e-2, 100, weights="uniform"), taus)
    assert distance(fair, centres.mean(0)) < 0.1 * distance(biased, centres.mean(0))


# Faults.


@law
@given(
    num_clients=st.integers(2, 8),
    extra=st.floats(0, 0.9),
    dead=st.integers(0, 7),
    seed=seeds,
    by_label=st.booleans(),
)
def test_with_redundancy_a_dead_client_takes_nothing_along(
    num_clients, extra, dead, seed, by_label
):
    """RI-SGD's experiment: from 1 / K on, what the survivors hold is everything."""
    n, base = 6 * num_clients, {"base": label_blocks} if by_label else {}
    labels = np.arange(n) % 4
    mu = 1 / num_clients + extra * (1 - 1 / num_clients)
    faults = DropOut(outages=[[dead % num_clients, 3]])
    for share, whole in ((mu, True), (0.0, False)):
        split = redundant(labels, num_clients, seed, mu=share, **base)
        alive = faults.answering(np.arange(num_clients), seed, 3)
        assert len(alive) == num_clients - 1
        held = {int(i) for client in alive for chunk in split.chunks[client] for i in chunk}
        assert (held == set(range(n))) == whole


def test_a_run_goes_on_without_the_dead_and_with_their_data():
    rng = np.random.default_rng(0)
    inputs, target = rng.standard_normal((24, 4)), rng.standard_normal(4)
    # The examples of client 0 ask for another model than all the others.
    wanted = inputs @ target + 5.0 * (np.arange(24) < 6)
    for mu in (0.0, 0.25):
        split = redundant(np.zeros(24, int), 4, 0, mu=mu, base=label_blocks)
        tensors = torch.from_numpy(inputs), torch.from_numpy(wanted[:, None])
        pool = Clients(*tensors, split.chunks, credit(split))
        params = survived(pool, DropOut(outages=[[0, 2]]))
        held = np.concatenate([pool.examples(client) for client in (1, 2, 3)])
        optimum = np.linalg.lstsq(inputs[held], wanted[held], rcond=None)[0]
        assert distance(params, optimum) < 1e-3
        assert (distance(optimum, target) > 0.5) == (mu > 0)


def survived(pool: Clients, faults: DropOut) -> torch.Tensor:
    model = least_squares((1,), dim=4).model()
    options = {"loss": half_squared_error, "faults": faults, "device": "cpu"}
    return fedlocal.simulate(model, pool, minibatch_sgd(0.3), 400, None, **options).params


# Anytime Minibatch.


@law
@given(problem=crowds, lr=rates, seed=seeds, steps=st.sampled_from([1, 3]))
def test_anytime_minibatch_without_stragglers_and_damping_is_synchronous_sgd(
    problem, lr, seed, steps
):
    timed = {"clock": Clock("constant", 0.01, **FREE)}
    anytime = anytime_minibatch(lr, 0.01 * steps, expected_examples=float("inf"))
    whole = {"batch_size": None, "ours": timed, "seed": seed}
    assert gap(problem, anytime, minibatch_sgd(lr), **whole) < EXACT
    if steps == 1:
        assert gap(problem, anytime, minibatch_sgd(lr), ours=timed, seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, seed=seeds)
def test_anytime_minibatch_is_not_local_sgd(problem, lr, seed):
    timed = {"clock": Clock("constant", 0.01, **FREE)}
    anytime = anytime_minibatch(lr, 0.05, expected_examples=float("inf"))
    assert gap(problem, anytime, local_sgd(lr, 5), ours=timed, seed=seed) > DIFFERENT


@law
@given(lr=rates, seed=seeds)
def test_anytime_minibatch_weighs_by_work(lr, seed):
    """Two steps for one: as if the fast client stood there twice."""
    problem = least_squares((6, 6), dim=4, seed=seed)
    twice = Problem(
        *((each[0], *each) for each in (problem.features, problem.targets)),
        problem.start,
        problem.widths,
        (problem.gradients[0], *problem.gradients),
    )
    timed = Clock("constant", (0.01, 0.02), **FREE)
    anytime = anytime_minibatch(lr, 0.02, expected_examples=float("inf"))
    ours = simulate(problem, anytime, 4, clock=timed)
    theirs = simulate(twice, minibatch_sgd(lr), 4)
    assert distance(ours.params, theirs.params) < EXACT
    assert distance(ours.params, simulate(problem, minibatch_sgd(lr), 4).params) > DIFFERENT


# Diagnostics.


def diagnosed(problem, strategy, rounds=3, **options):
    return simulate(problem, strategy, rounds, diagnostics=True, **options).history


@law
@given(num_clients=st.integers(1, 6), seed=seeds)
def test_identical_clients_have_no_heterogeneity(num_clients, seed):
    for row in diagnosed(identical_clients(num_clients, seed=seed), local_sgd(0.01, 3)):
        assert row["gradient_diversity"] == pytest.approx(1 / num_clients, rel=1e-9)
        assert row["gradient_variance"] < 1e-24
        assert row["update_cosine"] == pytest.approx(1.0)


@law
@given(problem=crowds, seed=seeds)
def test_diversity_and_variance_say_the_same_in_two_ways(problem, seed):
    """mean |g_i|^2 = zeta^2 + |mean g|^2, and FedProx' B^2 is K times the diversity."""
    result = simulate(problem, local_sgd(0.01, 3), 2, diagnostics=True, seed=seed)
    gradients = np.array([g(result.params.numpy()) for g in problem.gradients])
    mean_square = (gradients.mean(0) ** 2).sum()
    dissimilarity = len(gradients) * result.history[-1]["gradient_diversity"]
    zeta = result.history[-1]["gradient_variance"]
    assert dissimilarity == pytest.approx(1 + zeta / mean_square, rel=1e-9)


@law
@given(problem=crowds, lr=rates)
def test_one_step_drifts_by_the_gradient(problem, lr):
    start, history = problem.start, diagnosed(problem, minibatch_sgd(lr), 1)
    norms = [np.linalg.norm(gradient(start)) for gradient in problem.gradients]
    assert history[0]["drift_norm"] == pytest.approx(lr * np.mean(norms), rel=1e-9)
    assert history[0]["consensus_distance"] < 1e-24
