import pytest

from fedlocal.rates import StepRate
from strategies.vrl_sgd import vrl_sgd
from tests.oracles import vrl_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


def check(runtime, strategy, rates, periods):
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x, drifts = oracle.vrl_sgd(PROBLEM.gradients, PROBLEM.start, rates, periods)
    assert distance(result.params, x) < 1e-12
    # A client learns the new mean when its next round begins: what it holds is the drift of the
    # last round, and what it needs to update it.
    drift, local, step_sum = result.client_states.correction
    assert distance(drift, drifts[-2]) < 1e-12
    assert distance(drift + (result.params - local) / step_sum[:, None], drifts[-1]) < 1e-12
    assert distance(step_sum, [rates[-1] * periods[-1]] * 5) < 1e-15
    assert distance(drift.sum(dim=0), [0.0] * 7) < 1e-12
    assert drift.abs().max() > 1e-2


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4, 11])
def test_follows_the_paper(runtime, period):
    check(runtime, vrl_sgd(0.05, period), [0.05] * ROUNDS, [period] * ROUNDS)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_warm_up_is_a_first_round_of_one_step(runtime):
    check(runtime, vrl_sgd(0.05, 4, warmup=True), [0.05] * ROUNDS, [1] + [4] * (ROUNDS - 1))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("warmup", [False, True])
def test_the_drift_uses_the_rate_of_its_own_round(runtime, warmup):
    rates = [0.05] * 3 + [0.005] * 3
    periods = [1 if warmup else 4] + [4] * (ROUNDS - 1)
    check(runtime, vrl_sgd(StepRate(0.05, {3: 0.1}), 4, warmup=warmup), rates, periods)
