import numpy as np
import pytest

from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.mixing import as_graph
from strategies.sgp import sgp
from tests.choices import every_pair
from tests.oracles import sgp as oracle
from tests.problems import (
    RUNTIMES,
    constant_gradients,
    distance,
    least_squares,
    mean_output,
    simulate,
)

PROBLEM = least_squares()
K, P = len(PROBLEM.sizes), len(PROBLEM.start)
ROUNDS = 8
LR = [0.03] * ROUNDS
DIRECTED = "erdos_renyi:0.4:2:directed"

# By hand: columns sum to 1, rows do not; client 0 is heard by all, and hears of one.
PUSH = np.array(
    [
        [0.2, 0.0, 0.0, 0.0, 0.5],
        [0.2, 0.5, 0.0, 0.0, 0.0],
        [0.2, 0.5, 0.5, 0.0, 0.0],
        [0.2, 0.0, 0.5, 0.5, 0.0],
        [0.2, 0.0, 0.0, 0.5, 0.5],
    ]
)


def check(result, numerators, weights, x):
    state = result.server_state.mixing
    assert distance(state.numerators, numerators) < 1e-12
    assert distance(state.weights, weights) < 1e-12
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_one_peer_at_a_time(runtime, period, momentum):
    strategy = sgp(0.03, period, momentum=momentum)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    found = oracle.sgp(PROBLEM.gradients, PROBLEM.start, LR, period, oracle.one_peer(K), momentum)
    check(result, *found)
    assert distance(result.server_state.mixing.weights, np.ones(K)) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_weights_where_senders_are_not_heard_equally(runtime, period, momentum):
    strategy = sgp(0.03, period, PUSH, momentum=momentum)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    shares = oracle.column_of(PUSH)
    check(result, *oracle.sgp(PROBLEM.gradients, PROBLEM.start, LR, period, shares, momentum))
    weights = result.server_state.mixing.weights
    assert (weights - 1).abs().max() > 0.1
    assert abs(float(weights.sum()) - K) < 1e-12


def test_a_directed_random_graph():
    matrix = as_graph(DIRECTED).matrix(0, K)
    result = simulate(PROBLEM, sgp(0.03, 2, DIRECTED), ROUNDS)
    shares = oracle.column_of(matrix)
    check(result, *oracle.sgp(PROBLEM.gradients, PROBLEM.start, LR, 2, shares))
    assert (result.server_state.mixing.weights - 1).abs().max() > 0.1


def test_what_is_pushed_around_ends_at_the_plain_mean():
    # One step each, then none: with P alone all would end at a mean weighted by who is heard.
    vectors = np.random.default_rng(0).standard_normal((K, P))
    problem, rate = constant_gradients(vectors), StepRate(0.1, {1: 0.0})
    result = simulate(problem, sgp(rate, 1, PUSH), 100, loss=mean_output)
    mean = problem.start - 0.1 * vectors.mean(0)
    assert distance(result.client_params, np.tile(mean, (K, 1))) < 1e-9
    heard = np.linalg.matrix_power(PUSH, 100)[:, 0]
    assert distance(problem.start - 0.1 * heard @ vectors, mean) > 1e-3


def test_a_client_sends_its_model_to_one_peer_and_no_weight():
    records = simulate(PROBLEM, sgp(0.03), 3).ledger.records
    message = 8 * P + OVERHEAD
    for record in records:
        assert record.uplink_bytes.tolist() == [message] * K
        assert record.downlink_bytes.tolist() == [message] * K


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (PUSH.T, "every column of W must sum to 1"),
        (np.roll(np.eye(K), 1, 0), "does not bring models together"),
        (np.eye(K), "never hears of"),
        (PUSH + 0.3 * (np.roll(np.eye(K), 1, 0) - np.eye(K)), "no weight may be negative"),
    ],
)
def test_what_would_not_average_is_refused(matrix, reason):
    with pytest.raises(ValueError, match=reason):
        simulate(PROBLEM, sgp(0.03, 1, matrix), 1)


def test_a_node_that_keeps_nothing_is_refused():
    matrix = PUSH.copy()
    matrix[0, 0], matrix[1, 0] = 0.0, 0.4
    with pytest.raises(ValueError, match="make the diagonal positive"):
        simulate(PROBLEM, sgp(0.03, 1, matrix), 1)
