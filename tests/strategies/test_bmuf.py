import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.bmuf import bmuf
from tests.choices import every_pair
from tests.oracles import bmuf as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("zeta", "eta"), [(1.0, 0.9), (0.7, 0.5)])
def test_follows_the_paper(runtime, period, nesterov, zeta, eta):
    strategy = bmuf(0.02, period, block_lr=zeta, block_momentum=eta, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    _, x_g = oracle.bmuf(
        PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, period, zeta, eta, nesterov
    )
    # The anchor is the model that is broadcast; with Nesterov it is ahead of the paper's x.
    assert distance(result.params, x_g) < 1e-12
    assert distance(result.client_params, [x_g] * 5) < 1e-12


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_block_buffer_keeps_old_steps_after_a_rate_drop(nesterov):
    strategy = bmuf(StepRate(0.05, {3: 0.1}), 4, block_momentum=0.7, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS)
    rates = [0.05] * 3 + [0.005] * 3
    _, x_g = oracle.bmuf(PROBLEM.gradients, PROBLEM.start, rates, 4, 1.0, 0.7, nesterov)
    assert distance(result.params, x_g) < 1e-12
