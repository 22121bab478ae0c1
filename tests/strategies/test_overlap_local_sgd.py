import numpy as np
import pytest

from fedlocal import Clock
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.compress import QSGD, Identity, TopK, error_feedback
from strategies.overlap_local_sgd import overlap_local_sgd
from tests.choices import every_pair
from tests.oracles import overlap_local_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("alpha", [0.6, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize(("local_momentum", "nesterov"), [(0.0, True), (0.9, True), (0.5, False)])
def test_follows_the_paper(runtime, period, alpha, momentum, local_momentum, nesterov):
    strategy = overlap_local_sgd(0.02, period, alpha, momentum, local_momentum, nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    rates = [0.02] * ROUNDS
    history = oracle.overlap_local_sgd(
        PROBLEM.gradients, PROBLEM.start, rates, period, alpha, momentum, local_momentum, nesterov
    )
    x, (z, v), (coming, _) = history[-1]
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12
    # The server holds what the clients are pulled to at the end of this round, not its successor.
    assert distance(result.server_state.anchor[0], z) < 1e-12
    assert distance(result.server_state.mixing.velocity, v) < 1e-12
    assert distance(z, coming) > 1e-4


@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("alpha", [0.6, 0.1])
def test_without_momentum_the_coming_anchor_is_the_mean(period, alpha):
    result = simulate(PROBLEM, overlap_local_sgd(0.02, period, alpha), ROUNDS)
    history = oracle.overlap_local_sgd(
        PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, period, alpha
    )
    assert distance(result.params, history[-1][2][0]) < 1e-12


def test_a_round_lasts_as_long_as_the_slower_of_compute_and_travel():
    size = len(PROBLEM.start)
    # 8 bytes a number, 32 of header, both ways.
    for seconds_per_step in (0.001, 1.0):
        clock = Clock("constant", seconds_per_step, latency_seconds=0.1, bandwidth_bytes=1000)
        result = simulate(PROBLEM, overlap_local_sgd(0.02, 4), 3, clock=clock)
        travel, compute = 2 * (0.1 + (32 + 8 * size) / 1000), 4 * seconds_per_step
        seconds = [row["sim_seconds"] for row in result.history]
        assert seconds == pytest.approx([t * max(travel, compute) for t in (1, 2, 3)])


@pytest.mark.parametrize("compressor", [TopK(0.4), QSGD(4)], ids=repr)
def test_a_lossy_uplink_ends_where_an_exact_one_does(compressor):
    rare = Evaluate(every=1000)
    exact = simulate(PROBLEM, overlap_local_sgd(0.1, 4), 100, evaluate=rare)
    strategy = overlap_local_sgd(0.1, 4, uplink=compressor)
    lossy = simulate(PROBLEM, strategy, 100, evaluate=rare)
    # Clients stay apart for ever, and still the server's beliefs catch up with them.
    assert float((exact.client_params - exact.params).abs().max()) > 0.1
    assert distance(lossy.params, exact.params) < 0.02
    assert distance(lossy.server_state.anchor, exact.server_state.anchor) < 0.02


def test_an_exact_uplink_is_no_uplink():
    named = simulate(PROBLEM, overlap_local_sgd(0.02, 4, uplink=Identity()), ROUNDS)
    plain = simulate(PROBLEM, overlap_local_sgd(0.02, 4), ROUNDS)
    assert distance(named.client_params, plain.client_params) == 0
    assert named.ledger.uplink_bytes == ROUNDS * K * (32 + 8 * len(PROBLEM.start))


def test_error_feedback_is_refused():
    with pytest.raises(ValueError, match="without error feedback"):
        overlap_local_sgd(0.1, 4, uplink=error_feedback(TopK(0.1)))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_stays_between_own_model_and_anchor(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]"):
        overlap_local_sgd(0.1, 4, alpha)


def test_the_anchor_needs_everybody():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, overlap_local_sgd(0.1, 4), 1, participation=0.5)


def test_the_oracle_rule_is_its_matrix():
    matrix = oracle.anchor_matrix(K, 0.6)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(K + 1))
