import numpy as np
import pytest
import torch

from fedlocal.rounds.clock import Clock
from strategies.easgd import easgd
from tests.choices import every_pair
from tests.oracles import easgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate
from tests.timing import CLOCKS, away

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6


@every_pair
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
    assert distance(result.params, centre) < 1e-12
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


@pytest.mark.parametrize("clock", CLOCKS, ids=["constant", "exponential"])
def test_asynchronous_clients_pull_when_they_are_done(clock):
    strategy = easgd(0.02, 4, 0.1, timing="asynchronous")
    result = simulate(PROBLEM, strategy, ROUNDS, clock=clock)
    x, read, centre = oracle.async_easgd(
        PROBLEM.gradients, PROBLEM.start, 0.02, 4, 0.1, away(clock, PROBLEM, 4), ROUNDS * K
    )
    # After the last exchange, which the anchor of the next is not yet.
    assert distance(result.params, centre) < 1e-12
    assert distance(result.server_state.anchor[0], centre) > 1e-6
    own = result.server_state.mixing.own
    # The server follows what clients sent; they have been pulled since.
    assert distance(own + 0.1 * (torch.from_numpy(read) - own), x) < 1e-12


def test_sampled_clients_pull_and_the_others_keep_their_models():
    result = simulate(PROBLEM, easgd(0.02, 4, 0.1), 1, participation=0.4)
    members = result.ledger.records[0].clients
    moved = (result.client_params - torch.from_numpy(PROBLEM.start)).abs().sum(1) > 1e-9
    assert moved.nonzero().reshape(-1).tolist() == members.tolist()


def test_unknown_timing():
    with pytest.raises(ValueError, match="timing must be one of barrier, overlapped, asynchronous"):
        easgd(timing="late")


def test_overlap_hides_messages_and_changes_no_model():
    clock = Clock(seconds_per_step=0.01, latency_seconds=0.05, bandwidth_bytes=float("inf"))
    plain, hidden = (
        simulate(PROBLEM, easgd(0.02, 4, 0.1, timing=timing), 3, clock=clock)
        for timing in ("barrier", "overlapped")
    )
    assert distance(plain.client_params, hidden.client_params) == 0
    assert distance(plain.params, hidden.params) == 0
    assert plain.ledger.uplink_bytes == hidden.ledger.uplink_bytes
    # 4 steps of 10 ms and twice 50 ms, one after the other or at once.
    assert plain.history[-1]["sim_seconds"] == pytest.approx(3 * 0.14)
    assert hidden.history[-1]["sim_seconds"] == pytest.approx(3 * 0.1)
