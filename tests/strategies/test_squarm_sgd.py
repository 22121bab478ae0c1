import numpy as np
import pytest

from fedlocal.slots.compress import ErrorFeedback, Identity, ScaledSign, TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.squarm_sgd import squarm_sgd
from tests.choices import every_pair
from tests.oracles import squarm_sgd as oracle
from tests.oracles.compressors import identity, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS, H = 6, 3
RING = sum(np.roll(np.eye(K), shift, 0) for shift in (-1, 0, 1)) / 3

COMPRESSORS = {
    "identity": (Identity(), identity),
    "top": (TopK(0.4), top_k(0.4)),
    "sign": (ScaledSign(), scaled_sign),
}


def check(runtime, strategy, etas, compress, beta, c=0.0, gamma=0.3):
    result = simulate(PROBLEM, strategy, len(etas) // H, runtime=runtime)
    x, v, hat = oracle.squarm_sgd(
        PROBLEM.gradients, PROBLEM.start, etas, H, RING, gamma, compress, beta, c
    )
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12
    assert distance(result.client_states.inner.velocity, v) < 1e-12
    assert distance(result.server_state.mixing.beliefs, hat) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("beta", [0.5, 0.9])
@pytest.mark.parametrize("threshold", [0.0, 1000.0])
def test_follows_the_paper(runtime, compressor, beta, threshold):
    ours, theirs = COMPRESSORS[compressor]
    strategy = squarm_sgd(0.02, H, "ring", 0.3, ours, beta, threshold)
    check(runtime, strategy, [0.02] * ROUNDS * H, theirs, beta, threshold)


def test_a_rate_that_drops():
    strategy = squarm_sgd(
        StepRate(0.05, {3: 0.1}), H, graph=RING, gossip_step=1, compressor=TopK(0.8), momentum=0.5
    )
    etas = [0.05] * 9 + [0.005] * 9
    check("vmapped", strategy, etas, top_k(0.8), 0.5, gamma=1.0)


def test_the_threshold_of_the_test_lets_some_pass_and_not_others():
    strategy = squarm_sgd(0.02, H, "ring", 0.3, Identity(), 0.9, 1000.0)
    sent = [record.uplink_bytes for record in simulate(PROBLEM, strategy, ROUNDS).ledger.records]
    assert len(np.unique(np.array(sent))) == 2


def test_weight_decay_is_part_of_the_gradient():
    # A gradient g + w x makes both the same run.
    plain = [lambda x, g=g: g(x) + 0.1 * x for g in PROBLEM.gradients]
    result = simulate(PROBLEM, squarm_sgd(0.02, H, compressor=TopK(0.4), weight_decay=0.1), ROUNDS)
    step = squarm_sgd(0.02, H).mixing.step
    x, _, _ = oracle.squarm_sgd(
        plain, PROBLEM.start, [0.02] * ROUNDS * H, H, RING, step, top_k(0.4), 0.9, 0.0
    )
    assert distance(result.client_params, x) < 1e-12


def test_error_feedback_is_refused():
    with pytest.raises(ValueError, match="gossip needs a compressor without error feedback"):
        squarm_sgd(0.1, 5, compressor=ErrorFeedback(TopK(0.4)))


def test_momentum_that_diverges_is_refused():
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1.0"):
        squarm_sgd(0.1, 5, momentum=1.0)
