import pytest

from fedlocal.slots.compress import ErrorFeedback, Identity, PowerSGD
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.minibatch_sgd import minibatch_sgd
from strategies.power_sgd import power_sgd
from tests.choices import every_pair
from tests.matrices import SHAPES, many_outputs
from tests.oracles import power_sgd as oracle
from tests.problems import RUNTIMES, distance, simulate

PROBLEM = many_outputs()
ROUNDS = 8
LR = 0.02


def follow(strategy, rates, period, rank, momentum, runtime="vmapped"):
    result = simulate(PROBLEM, strategy, len(rates), runtime=runtime)
    x, e = oracle.power_sgd(PROBLEM.gradients, PROBLEM.start, rates, period, SHAPES, rank, momentum)
    return result, x, e


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_follows_the_paper(runtime, period, rank, momentum):
    strategy = power_sgd(LR, period, PowerSGD(rank), momentum)
    result, x, e = follow(strategy, [LR] * ROUNDS, period, rank, momentum, runtime)
    assert distance(result.params, x) < 1e-12
    # In model units, and after - before.
    assert distance(-result.client_states.uplink.residual / LR, e) < 1e-11


def test_units_matter_once_the_rate_has_dropped():
    strategy = power_sgd(StepRate(LR, {4: 0.1}), 1, PowerSGD(1))
    rates = [LR] * 4 + [LR / 10] * 4
    for rounds, same in [(4, True), (8, False)]:
        result, x, _ = follow(strategy, rates[:rounds], 1, 1, 0.9)
        assert distance(result.params, x) < 1e-12 if same else distance(result.params, x) > 1e-4


def test_momentum_after_an_exact_mean_is_synchronous_nesterov():
    one, other = power_sgd(LR, 1, Identity(), 0.9), minibatch_sgd(LR, 0.9, nesterov=True)
    ends = [simulate(PROBLEM, strategy, ROUNDS, batch_size=2).params for strategy in (one, other)]
    assert distance(*ends) < 1e-12


def test_rank_two_in_error_feedback_by_default():
    assert power_sgd().uplink == ErrorFeedback(PowerSGD(2))


def test_sampled_clients_keep_their_own_query():
    strategy = power_sgd(LR, 2, PowerSGD(1))
    both = [
        simulate(PROBLEM, strategy, ROUNDS, participation=0.6, runtime=runtime)
        for runtime in RUNTIMES
    ]
    assert distance(both[0].params, both[1].params) < 1e-12
