"""Laws of mixing matrices: which one makes which method, and what mixing keeps.

Numbers in names are rows of the equivalence matrix in the reference notes.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.rounds.clock import Clock
from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.mixing import as_graph, spectral_gap
from strategies.cooperative_sgd import cooperative_sgd
from strategies.d_pasgd import d_pasgd
from strategies.d_psgd import d_psgd
from strategies.easgd import easgd
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.sgp import sgp
from tests.gaps import DIFFERENT, EXACT
from tests.gaps import client_gap as gap
from tests.laws.domain import ROUNDS, crowds, law, periods, rates, runtimes, seeds
from tests.problems import (
    RUNTIMES,
    constant_gradients,
    distance,
    least_squares,
    mean_output,
    simulate,
)

momenta = st.just(0.0) | st.floats(0.1, 0.9)
orders = st.sampled_from(["adapt_then_combine", "combine_then_adapt"])
DOUBLY = ["complete", "ring", "star", "exponential", "one_peer_exponential", "erdos_renyi:0.6:1"]
graphs = st.sampled_from(DOUBLY)


def elastic_matrix(num_clients, alpha):
    matrix = np.eye(num_clients + 1) * (1 - alpha)
    matrix[:num_clients, num_clients] = matrix[num_clients, :num_clients] = alpha
    matrix[num_clients, num_clients] = 1 - num_clients * alpha
    return matrix


# Row 10: a mean of all is what a server takes.


@law
@given(problem=crowds, lr=rates, period=periods, beta=momenta, seed=seeds, runtime=runtimes)
def test_row_10_equal_weights_are_local_sgd(problem, lr, period, beta, seed, runtime):
    options = {"seed": seed, "runtime": runtime}
    local = local_sgd(lr, period, momentum=beta)
    equal = np.full((len(problem.sizes),) * 2, 1 / len(problem.sizes))
    for graph in ("complete", equal):
        assert (
            gap(problem, cooperative_sgd(lr, period, graph, momentum=beta), local, **options)
            < EXACT
        )
    assert gap(problem, d_pasgd(lr, period, "complete", momentum=beta), local, **options) < EXACT


@law
@given(problem=crowds, lr=rates, beta=momenta, seed=seeds)
def test_row_10_equal_weights_after_every_step_are_synchronous(problem, lr, beta, seed):
    sync = minibatch_sgd(lr, momentum=beta)
    assert gap(problem, d_psgd(lr, "complete", momentum=beta), sync, seed=seed) < EXACT
    assert gap(problem, cooperative_sgd(lr, 1, momentum=beta), sync, seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, graph=graphs, order=orders, seed=seeds)
def test_periodic_averaging_of_one_step_is_d_psgd(problem, lr, period, graph, order, seed):
    one = d_pasgd(lr, 1, graph, order)
    assert gap(problem, one, d_psgd(lr, graph, order), seed=seed) < EXACT
    many = d_pasgd(lr, period, graph, order)
    assert gap(problem, many, cooperative_sgd(lr, period, graph, 0, order), seed=seed) < EXACT


def test_a_sparse_graph_is_not_local_sgd():
    problem = least_squares()
    assert gap(problem, d_pasgd(0.03, 4, "ring"), local_sgd(0.03, 4)) > DIFFERENT
    assert gap(problem, d_pasgd(0.03, 4, "ring"), d_pasgd(0.03, 4, "star")) > DIFFERENT


# Row 11: elastic averaging is a matrix with one node that holds no data.


@law
@given(
    problem=crowds,
    lr=rates,
    period=periods,
    beta=momenta,
    share=st.floats(0.1, 0.9),
    seed=seeds,
    runtime=runtimes,
)
def test_row_11_easgd_is_cooperative(problem, lr, period, beta, share, seed, runtime):
    num_clients = len(problem.sizes)
    alpha = share * 2 / (num_clients + 1)
    elastic = easgd(lr, period, alpha, momentum=beta, nesterov=False)
    matrix = elastic_matrix(num_clients, alpha)
    both = elastic, cooperative_sgd(lr, period, matrix, auxiliary=1, momentum=beta)
    assert gap(problem, *both, seed=seed, runtime=runtime) < EXACT
    ends = [simulate(problem, each, 3, seed=seed).server_state.mixing for each in both]
    assert distance(ends[0].centre, ends[1].models[0]) < EXACT


@law
@given(num_clients=st.integers(2, 12), share=st.floats(0.05, 0.95))
def test_row_11_eigenvalues_of_the_elastic_matrix(num_clients, share):
    alpha = share * 2 / (num_clients + 1)
    matrix = elastic_matrix(num_clients, alpha)
    expected = [1, 1 - (num_clients + 1) * alpha] + [1 - alpha] * (num_clients - 1)
    assert distance(np.linalg.eigvalsh(matrix), np.sort(expected)) < EXACT
    graph = as_graph(matrix)
    slowest = max(abs(1 - alpha), abs(1 - (num_clients + 1) * alpha))
    assert spectral_gap(graph, num_clients + 1) == pytest.approx(1 - slowest, abs=1e-9)
    best = as_graph(elastic_matrix(num_clients, 2 / (num_clients + 2)))
    assert spectral_gap(best, num_clients + 1) == pytest.approx(2 / (num_clients + 2), abs=1e-9)
    assert spectral_gap(best, num_clients + 1) >= spectral_gap(graph, num_clients + 1) - 1e-9


def test_row_11_is_not_local_sgd():
    problem = least_squares()
    alpha = 2 / (len(problem.sizes) + 2)
    assert gap(problem, easgd(0.03, 4, alpha), local_sgd(0.03, 4)) > DIFFERENT


@law
@given(problem=crowds, lr=rates, period=periods, latency=st.floats(0.001, 0.2), seed=seeds)
def test_overlapped_easgd_takes_less_time_to_the_same_models(problem, lr, period, latency, seed):
    clock = Clock(latency_seconds=latency)
    plain, hidden = (
        simulate(problem, easgd(lr, period, 0.1, timing=timing), 3, seed=seed, clock=clock)
        for timing in ("barrier", "overlapped")
    )
    assert distance(plain.client_params, hidden.client_params) == 0
    seconds = [result.history[-1]["sim_seconds"] for result in (plain, hidden)]
    assert seconds[1] < seconds[0] <= 2 * seconds[1] + 1e-9


# Rows 12 and 13: the order of mixing and of the gradient.


@law
@given(problem=crowds, lr=st.floats(0.03, 0.06), seed=seeds)
def test_row_12_the_original_order_is_not_synchronous(problem, lr, seed):
    original = d_psgd(lr, "complete", "combine_then_adapt")
    assert gap(problem, original, minibatch_sgd(lr), seed=seed) > DIFFERENT
    ends = [simulate(problem, each, ROUNDS).params for each in (original, minibatch_sgd(lr))]
    assert distance(*ends) > 1e-6


@law
@given(problem=crowds, lr=rates, graph=graphs, seed=seeds, t=st.integers(1, 4))
def test_row_13_one_round_of_either_order(problem, lr, graph, seed, t):
    num_clients = len(problem.sizes)
    W = as_graph(graph).matrix(t, num_clients)
    for order in ("adapt_then_combine", "combine_then_adapt"):
        x, after = (
            simulate(problem, d_psgd(lr, graph, order), rounds).client_params.numpy()
            for rounds in (t, t + 1)
        )
        step = -lr * np.stack([g(x_i) for g, x_i in zip(problem.gradients, x, strict=True)])
        expected = W @ (x + step) if order == "adapt_then_combine" else W @ x + step
        assert distance(after, expected) < EXACT


# What mixing keeps, and how fast it brings models together.


@law
@given(
    graph=graphs,
    order=orders,
    num_clients=st.integers(1, 6),
    lr=rates,
    period=periods,
    beta=momenta,
    seed=seeds,
)
def test_mixing_keeps_the_mean(graph, order, num_clients, lr, period, beta, seed):
    vectors = np.random.default_rng(seed).standard_normal((num_clients, 6))
    problem = constant_gradients(vectors, size=3)
    ends = [
        simulate(problem, strategy, ROUNDS, batch_size=2, loss=mean_output).params
        for strategy in (
            d_pasgd(lr, period, graph, order, momentum=beta),
            local_sgd(lr, period, momentum=beta),
        )
    ]
    assert distance(*ends) < EXACT
    if not beta:
        expected = problem.start - lr * period * ROUNDS * vectors.mean(0)
        assert distance(ends[0], expected) < EXACT


@law
@given(graph=st.sampled_from(["ring", "star", "torus", "erdos_renyi:0.5:2"]), seed=seeds)
def test_disagreement_shrinks_by_the_spectral_gap(graph, seed):
    # One step apart from each other, and then none.
    vectors = np.random.default_rng(seed).standard_normal((6, 4))
    problem, rate = constant_gradients(vectors), StepRate(1.0, {1: 0.0})
    apart = {}
    for rounds in (1, 2, 10, 11):
        x = simulate(problem, d_psgd(rate, graph), rounds, loss=mean_output).client_params
        apart[rounds] = float((x - x.mean(0)).norm())
    left = 1 - spectral_gap(as_graph(graph), 6)
    for before, after in pairwise(apart):
        assert apart[after] / apart[before] <= (left + 1e-9) ** (after - before)
    # In the long run the slowest mode is what is left.
    assert apart[11] / apart[10] == pytest.approx(left, rel=0.1)


@law
@given(lr=rates, period=periods, graph=graphs, beta=momenta, seed=seeds)
def test_one_client_has_nobody_to_mix_with(lr, period, graph, beta, seed):
    problem = least_squares((8,), seed=seed)
    local = local_sgd(lr, period, momentum=beta)
    for strategy in (d_pasgd(lr, period, graph, momentum=beta), sgp(lr, period, graph, beta)):
        assert gap(problem, strategy, local, seed=seed) < EXACT
        assert simulate(problem, strategy, 1).ledger.uplink_bytes == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("make", [d_pasgd, sgp])
@pytest.mark.parametrize("graph", ["ring", "exponential", "one_peer_exponential"])
def test_turning_a_circle_turns_the_models(make, graph, runtime):
    problem, order = least_squares(), [1, 2, 3, 4, 0]
    turned = replace(
        problem,
        features=tuple(problem.features[i] for i in order),
        targets=tuple(problem.targets[i] for i in order),
    )
    x, y = (
        simulate(each, make(0.03, 3, graph), ROUNDS, runtime=runtime).client_params
        for each in (problem, turned)
    )
    assert distance(x[order], y) < EXACT
    assert distance(x, y) > DIFFERENT


# Row 21: push-sum.


@law
@given(problem=crowds, lr=rates, beta=momenta, seed=seeds, runtime=runtimes)
def test_row_21_pushing_to_everyone_is_synchronous(problem, lr, beta, seed, runtime):
    pushed = sgp(lr, 1, "complete", beta)
    sync = minibatch_sgd(lr, momentum=beta)
    assert gap(problem, pushed, sync, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, beta=momenta, graph=graphs, seed=seeds)
def test_pushing_with_rows_that_sum_to_one_is_averaging(problem, lr, period, beta, graph, seed):
    averaged = d_pasgd(lr, period, graph, momentum=beta)
    assert gap(problem, sgp(lr, period, graph, beta), averaged, seed=seed) < EXACT


@law
@given(
    num_clients=st.integers(2, 6),
    turns=st.integers(1, 3),
    lr=rates,
    period=periods,
    seed=seeds,
    runtime=runtimes,
)
def test_row_21_weights_sum_to_k(num_clients, turns, lr, period, seed, runtime):
    rng = np.random.default_rng(seed)
    columns = rng.dirichlet(np.ones(num_clients), size=(turns, num_clients)).swapaxes(1, 2)
    vectors = rng.standard_normal((num_clients, 5))
    problem = constant_gradients(vectors)
    result = simulate(problem, sgp(lr, period, columns), ROUNDS, loss=mean_output, runtime=runtime)
    state = result.server_state.mixing
    assert float(state.weights.min()) > 0
    assert abs(float(state.weights.sum()) - num_clients) < EXACT
    assert float((state.weights - 1).abs().max()) > DIFFERENT
    # The numerators keep their sum too, but for the gradients.
    total = num_clients * problem.start - lr * period * ROUNDS * vectors.sum(0)
    assert distance(state.numerators.sum(0), total) < EXACT
    assert distance(result.client_params, state.numerators / state.weights[:, None]) < EXACT


def test_pushing_over_a_directed_graph_is_not_what_its_matrix_alone_does():
    problem, graph = least_squares(), "erdos_renyi:0.4:2:directed"
    result = simulate(problem, sgp(0.03, 1, graph), ROUNDS)
    state = result.server_state.mixing
    assert distance(result.client_params, state.numerators) > DIFFERENT


# Bytes.


@law
@given(
    graph=st.sampled_from([*DOUBLY, "erdos_renyi:0.4:1:directed"]),
    num_clients=st.integers(2, 6),
    period=periods,
)
def test_a_client_sends_its_message_along_every_link(graph, num_clients, period):
    problem = least_squares((5,) * num_clients, dim=4)
    make = sgp if "directed" in graph else d_pasgd
    result = simulate(problem, make(0.02, period, graph), 4)
    message = 8 * len(problem.start) + OVERHEAD
    for t, record in enumerate(result.ledger.records):
        links = as_graph(graph).links(t, num_clients)
        assert (record.uplink_bytes == links.sum(1) * message).all()
        assert (record.downlink_bytes == links.sum(0) * message).all()
    assert result.ledger.uplink_bytes == result.ledger.downlink_bytes > 0
