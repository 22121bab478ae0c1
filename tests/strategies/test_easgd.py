import numpy as np
import pytest

from strategies.easgd import easgd
from tests.oracles import easgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("alpha", [2 / (K + 2), 0.05])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, True), (0.9, True), (0.5, False)])
def test_is_the_cooperative_matrix(runtime, period, alpha, momentum, nesterov):
    strategy = easgd(0.02, period, alpha, momentum=momentum, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x, centre = oracle.easgd(
        PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, period, alpha, momentum, nesterov
    )
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12
    assert distance(result.server_state.mixing.centre, centre) < 1e-12


@pytest.mark.parametrize("clients", [2, 5, 9])
def test_the_best_alpha_leaves_m_over_m_plus_two(clients):
    alpha = 2 / (clients + 2)
    matrix = np.eye(clients + 1) * (1 - alpha)
    matrix[:clients, clients] = matrix[clients, :clients] = alpha
    matrix[clients, clients] = 1 - clients * alpha
    second = np.sort(abs(np.linalg.eigvalsh(matrix)))[-2]
    assert second == pytest.approx(clients / (clients + 2), abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, -0.1, float("nan")])
def test_alpha_pulls(alpha):
    with pytest.raises(ValueError, match="alpha must be positive"):
        easgd(0.1, 4, alpha)


def test_alpha_beyond_stability_is_refused_once_k_is_known():
    with pytest.raises(ValueError, match=r"below 2 / \(K \+ 1\) = 0.3333"):
        simulate(PROBLEM, easgd(0.1, 4, 0.34), 1, runtime="loop")


def test_sampled_clients_are_refused():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, easgd(0.1, 4, 0.1), 1, participation=0.5)
