"""Laws of control variates and of normalisation: SCAFFOLD, FedDyn, FedNova, Mime and MimeLite.

Two runs with the same seed see the same mini-batches, so most of these hold step by step on
stochastic gradients too. Numbers in names are rows of the equivalence matrix in the reference
notes.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.slots import Timing
from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.mixing import WeightedMean
from fedlocal.slots.period import SwitchPeriod
from strategies.easgd import ElasticAveraging
from strategies.fedavg import fedavg
from strategies.feddyn import feddyn
from strategies.fednova import fednova
from strategies.fedprox import fedprox
from strategies.local_sgd import local_sgd
from strategies.mime import mime
from strategies.minibatch_sgd import minibatch_sgd
from strategies.scaffold import scaffold
from strategies.slowmo import slowmo
from strategies.vrl_sgd import vrl_sgd
from tests.gaps import DIFFERENT, EXACT, gap
from tests.laws.domain import (
    ROUNDS,
    crowds,
    law,
    long_periods,
    momenta,
    periods,
    rates,
    runtimes,
    seeds,
)
from tests.problems import (
    RUNTIMES,
    Problem,
    distance,
    identical_clients,
    least_squares,
    linear_gradient,
    points,
    simulate,
)

any_weights = st.sampled_from(["uniform", "examples"])


# SCAFFOLD.


@law
@given(problem=crowds, lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_row_5_scaffold_with_everyone_is_vrl_sgd(problem, lr, period, seed, runtime):
    options = {"seed": seed, "runtime": runtime}
    assert gap(problem, scaffold(lr, period), vrl_sgd(lr, period), **options) < EXACT
    # VRL-SGD finishes its update when the next round begins.
    ours = simulate(problem, scaffold(lr, period), ROUNDS - 1, batch_size=2, **options)
    theirs = simulate(problem, vrl_sgd(lr, period), ROUNDS, batch_size=2, **options)
    difference = ours.client_states.correction.own - ours.server_state.correction.mean
    assert distance(difference, theirs.client_states.correction.drift) < 1e-11


@law
@given(problem=crowds, lr=rates, period=long_periods, seed=seeds)
def test_row_5_holds_behind_a_lossy_uplink(problem, lr, period, seed):
    lossy = [
        replace(strategy, uplink=ErrorFeedback(TopK(0.3)))
        for strategy in (scaffold(lr, period), vrl_sgd(lr, period))
    ]
    assert gap(problem, *lossy, seed=seed) < EXACT
    assert gap(problem, lossy[0], scaffold(lr, period), seed=seed) > DIFFERENT


@law
@given(problem=crowds, lr=rates, period=long_periods, seed=seeds)
def test_row_5_breaks_with_another_option_or_server_rate(problem, lr, period, seed):
    vrl = vrl_sgd(lr, period)
    assert gap(problem, scaffold(lr, period, option="I"), vrl, seed=seed) > 1e-6
    assert gap(problem, scaffold(lr, period, server_lr=0.5), vrl, seed=seed) > DIFFERENT


@law
@given(problem=crowds, lr=rates, seed=seeds, runtime=runtimes)
def test_the_options_agree_on_one_step_over_all_data(problem, lr, seed, runtime):
    options = {"batch_size": None, "participation": 0.67, "seed": seed, "runtime": runtime}
    one, two = (scaffold(lr, 1, option=option) for option in ("I", "II"))
    assert gap(problem, one, two, **options) < EXACT


@law
@given(problem=crowds, lr=rates, period=long_periods, seed=seeds, runtime=runtimes)
def test_scaffold_is_local_sgd_while_its_variates_are_zero(problem, lr, period, seed, runtime):
    options = {"seed": seed, "runtime": runtime, "participation": 0.67}
    for option in ("I", "II"):
        pair = scaffold(lr, period, option=option), local_sgd(lr, period)
        assert gap(problem, *pair, rounds=1, **options) < EXACT
        assert gap(problem, *pair, rounds=3, **options) > 1e-6


@law
@given(lr=rates, period=periods, seed=seeds, option=st.sampled_from(["I", "II"]))
def test_scaffold_is_local_sgd_on_identical_clients(lr, period, seed, option):
    problem, local = identical_clients(seed=seed), local_sgd(lr, period)
    assert gap(problem, scaffold(lr, period, option=option), local, batch_size=None) < EXACT


@law
@given(
    problem=crowds,
    lr=rates,
    period=periods,
    seed=seeds,
    share=st.sampled_from([0.34, 0.67, 1.0]),
    option=st.sampled_from(["I", "II"]),
    runtime=runtimes,
)
def test_variates_sum_to_k_times_the_servers(problem, lr, period, seed, share, option, runtime):
    result = simulate(
        problem,
        scaffold(lr, period, option=option),
        ROUNDS,
        batch_size=2,
        participation=share,
        seed=seed,
        runtime=runtime,
    )
    own, mean = result.client_states.correction.own, result.server_state.correction.mean
    assert mean.abs().max() > 1e-3
    assert distance(own.sum(0), len(own) * mean) < 1e-11


def two_parabolas(gap: float) -> Problem:
    """f_1 = x^2 / 2 + gap x and f_2 = 2 x^2 - gap x: unlike in curvature too, optimum at 0."""
    roots, slopes = np.array([1.0, 2.0]), np.array([gap, -gap])
    features = tuple(np.full((1, 1), root) for root in roots)
    targets = tuple(np.full((1, 1), -s / r) for s, r in zip(slopes, roots, strict=True))
    gradients = tuple(map(linear_gradient, features, targets))
    return Problem(features, targets, np.array([3.0]), (1, 1), gradients)


def curve(strategy, dissimilarity: float) -> list[float]:
    problem = two_parabolas(dissimilarity)
    return [float(simulate(problem, strategy, rounds).params) for rounds in (1, 3, 7)]


def test_scaffold_does_not_see_how_unlike_the_clients_are():
    # One step first, so that the variates begin as gradients, as in the paper's analysis.
    control = scaffold(0.05, SwitchPeriod(before=1, after=10, at=1))
    base, plain = curve(control, 0.0), curve(local_sgd(0.05, 10), 0.0)
    assert base[0] > 2 and abs(base[-1]) < 0.05
    for dissimilarity in (1.0, 10.0, 100.0):
        assert distance(curve(control, dissimilarity), base) < 1e-11
        shift = distance(curve(local_sgd(0.05, 10), dissimilarity), plain)
        assert shift > 0.05 * dissimilarity


def optimum(problem: Problem) -> np.ndarray:
    pairs = list(zip(problem.features, problem.targets, strict=True))
    hessian = sum(a.T @ a / len(a) for a, _ in pairs)
    return np.linalg.solve(hessian, sum(a.T @ b[:, 0] / len(a) for a, b in pairs))


@pytest.mark.parametrize("strategy", [scaffold(0.1, 5), scaffold(0.1, 5, option="I")])
def test_sampled_clients_still_lead_to_the_optimum(strategy):
    problem = least_squares((4, 6, 9), dim=2, seed=3)
    some = {"participation": 0.67}
    assert distance(simulate(problem, strategy, 60, **some).params, optimum(problem)) < 1e-8
    assert distance(simulate(problem, local_sgd(0.1, 5), 60, **some).params, optimum(problem)) > 0.1


# FedDyn.


@law
@given(problem=crowds, lr=rates, period=periods, alpha=st.floats(0.1, 2), seed=seeds)
def test_row_20_feddyns_first_round_goes_twice_as_far_as_the_mean(problem, lr, period, alpha, seed):
    # At first every g_k is zero: only the proximal term is left.
    both = feddyn(lr, period, alpha), fedprox(lr, period, alpha, weights="uniform")
    # With a part of the clients h knows of a part only.
    for share in (1.0, 0.67):
        options = {"batch_size": 2, "seed": seed, "participation": share}
        ours, mean = (simulate(problem, each, 1, **options).params.numpy() for each in both)
        fraction = int(share * len(problem.sizes)) / len(problem.sizes)
        assert distance(ours, mean + fraction * (mean - problem.start)) < EXACT


def test_feddyn_leads_to_the_optimum_where_local_sgd_does_not():
    problem = least_squares((4, 6, 9), dim=2, seed=3)
    assert distance(simulate(problem, feddyn(0.1, 5, 1.0), 80).params, optimum(problem)) < 1e-8
    assert distance(simulate(problem, local_sgd(0.1, 5), 80).params, optimum(problem)) > 0.05


@law
@given(problem=crowds, lr=rates, period=long_periods, seed=seeds)
def test_feddyn_is_not_a_rescaled_fedprox(problem, lr, period, seed):
    twice = slowmo(lr, period, slow_lr=2.0, slow_momentum=0.0)
    twice = replace(twice, correction=fedprox(lr, period, 0.5).correction)
    assert gap(problem, feddyn(lr, period, 0.5), twice, rounds=1, seed=seed) < EXACT
    assert gap(problem, feddyn(lr, period, 0.5), twice, rounds=2, seed=seed) > DIFFERENT


# FedNova.


@law
@given(
    problem=crowds,
    lr=rates,
    period=periods,
    beta=st.just(0.0) | momenta,
    weights=any_weights,
    seed=seeds,
    runtime=runtimes,
)
def test_row_20_fednova_of_equal_steps_is_fedavg(problem, lr, period, beta, weights, seed, runtime):
    nova = fednova(lr, period, momentum=beta, weights=weights)
    average = fedavg(lr, period, momentum=beta, weights=weights)
    assert gap(problem, nova, average, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, beta=momenta, seed=seeds)
def test_fednova_of_equal_steps_with_server_momentum_is_slowmo(problem, lr, period, beta, seed):
    nova = fednova(lr, period, server_momentum=beta, weights="uniform")
    assert gap(problem, nova, slowmo(lr, period, slow_momentum=beta), seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, period=long_periods, mu=st.floats(0.5, 5), seed=seeds)
def test_fednova_of_equal_steps_undoes_the_damping_of_fedprox(problem, lr, period, mu, seed):
    options = {"batch_size": 2, "seed": seed}
    nova, prox = (
        simulate(problem, strategy, 1, **options).params.numpy() - problem.start
        for strategy in (fednova(lr, period, mu=mu), fedprox(lr, period, mu))
    )
    alpha = lr * mu
    assert distance(nova, prox * period * alpha / (1 - (1 - alpha) ** period)) < EXACT


@law
@given(num_clients=st.integers(2, 4), seed=seeds, weights=any_weights, runtime=runtimes)
def test_lemma_1_unequal_steps_leave_fednova_at_the_mean(num_clients, seed, weights, runtime):
    problem = points(tuple(2 * (i + 1) for i in range(num_clients)), seed=seed)
    lr, steps = 1e-3, np.arange(1, num_clients + 1)
    p = problem.by_examples if weights == "examples" else problem.uniform
    centres = np.stack([targets[0] for targets in problem.targets])
    # Fixed points of x = sum_i q_i (e_i + (1 - lr)^tau_i (x - e_i)), in closed form.
    pull = p * (1 - (1 - lr) ** steps)
    start = {
        "nova": pull / steps @ centres / (pull / steps).sum(),
        "average": pull @ centres / pull.sum(),
    }
    for name, strategy in {"nova": fednova, "average": fedavg}.items():
        fixed = replace(problem, start=start[name])
        end = simulate(
            fixed, strategy(lr, epochs=1, weights=weights), 3, batch_size=2, runtime=runtime
        )
        assert distance(end.params, start[name]) < EXACT
    assert distance(start["nova"], p @ centres) < 5e-3
    assert distance(start["average"], p * steps @ centres / (p @ steps)) < 5e-3
    assert distance(start["average"], p @ centres) > 10 * distance(start["nova"], p @ centres)


@pytest.mark.parametrize(("momentum", "mu"), [(0.5, 0.0), (0.0, 1.0)])
def test_lemma_1_fednova_arrives_at_the_mean_whatever_the_local_solver(momentum, mu):
    problem, options = points((2, 4, 8), seed=1), {"batch_size": 2}
    centres = np.stack([targets[0] for targets in problem.targets])
    nova = fednova(0.02, epochs=1, momentum=momentum, mu=mu, weights="uniform")
    assert distance(simulate(problem, nova, 120, **options).params, centres.mean(0)) < 0.01
    # The same local solver under a plain mean.
    average = replace(nova, mixing=WeightedMean())
    assert distance(simulate(problem, average, 120, **options).params, centres.mean(0)) > 0.1


# Mime and MimeLite.


@law
@given(problem=crowds, lr=rates, period=periods, weights=any_weights, seed=seeds, runtime=runtimes)
def test_mimelite_without_momentum_is_fedavg(problem, lr, period, weights, seed, runtime):
    lite = mime(lr, period, momentum=0.0, lite=True, weights=weights)
    options = {"seed": seed, "runtime": runtime, "participation": 0.67}
    assert gap(problem, lite, fedavg(lr, period, weights=weights), **options) < EXACT


@law
@given(
    problem=crowds,
    lr=rates,
    beta=st.just(0.0) | momenta,
    lite=st.booleans(),
    seed=seeds,
    runtime=runtimes,
)
def test_one_step_over_all_data_is_centralised_momentum(problem, lr, beta, lite, seed, runtime):
    # The paper's momentum is PyTorch's at lr (1 - beta).
    central = minibatch_sgd(lr * (1 - beta), momentum=beta, weights="examples")
    ours = mime(lr, 1, momentum=beta, lite=lite)
    options = {"batch_size": None, "seed": seed, "runtime": runtime}
    assert gap(problem, ours, central, **options) < EXACT


@law
@given(problem=crowds, lr=rates, beta=st.just(0.0) | momenta, seed=seeds)
def test_mimes_first_step_does_not_depend_on_the_mini_batch(problem, lr, beta, seed):
    one = simulate(problem, mime(lr, 1, beta), ROUNDS, batch_size=1, seed=seed).params
    assert distance(one, simulate(problem, mime(lr, 1, beta), ROUNDS).params) < EXACT
    one = simulate(problem, mime(lr, 1, beta, lite=True), ROUNDS, batch_size=1, seed=seed).params
    assert distance(one, simulate(problem, mime(lr, 1, beta, lite=True), ROUNDS).params) > DIFFERENT


@law
@given(lr=rates, period=periods, beta=st.just(0.0) | momenta, seed=seeds)
def test_mime_is_mimelite_on_identical_clients_without_noise(lr, period, beta, seed):
    problem = identical_clients(seed=seed)
    both = (mime(lr, period, beta, lite=lite) for lite in (False, True))
    assert gap(problem, *both, batch_size=None) < EXACT


@law
@given(
    problem=crowds, lr=st.floats(0.03, 0.05), beta=st.just(0.0) | st.floats(0.1, 0.5), seed=seeds
)
def test_mime_is_not_mimelite_on_different_clients(problem, lr, beta, seed):
    both = (mime(lr, 5, beta, lite=lite) for lite in (False, True))
    assert gap(problem, *both, batch_size=None, seed=seed) > DIFFERENT


# All of them.

CONTROLLED = {
    "scaffold": scaffold(0.02, 3),
    "scaffold I": scaffold(0.02, 3, option="I"),
    "feddyn": feddyn(0.02, 3),
    "mime": mime(0.02, 3),
    "mimelite": mime(0.02, 3, lite=True),
}


@pytest.mark.parametrize("name", CONTROLLED)
def test_clients_that_start_from_models_of_their_own_are_refused(name):
    with pytest.raises(ValueError, match="all start from one anchor"):
        replace(CONTROLLED[name], mixing=ElasticAveraging(0.1))


@pytest.mark.parametrize("name", CONTROLLED)
def test_rounds_without_a_barrier_are_refused(name):
    with pytest.raises(ValueError, match="a round begins when the one before is finished"):
        replace(CONTROLLED[name], timing=Timing.ASYNCHRONOUS)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", CONTROLLED)
def test_permuting_clients_changes_nothing(name, runtime):
    problem, order = least_squares(), [3, 0, 4, 1, 2]
    shuffled = replace(
        problem,
        features=tuple(problem.features[i] for i in order),
        targets=tuple(problem.targets[i] for i in order),
    )
    ends = (simulate(each, CONTROLLED[name], 4, runtime=runtime) for each in (problem, shuffled))
    assert distance(*(end.params for end in ends)) < EXACT
