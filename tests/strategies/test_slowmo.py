import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.slowmo import slowmo
from tests.choices import every_pair
from tests.oracles import slowmo as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


def check(runtime, strategy, *arguments, **options):
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x, _ = oracle.slowmo(PROBLEM.gradients, PROBLEM.start, *arguments, **options)
    assert distance(result.params, x) < 1e-12
    assert distance(result.client_params, [x] * 5) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (0.6, 0.8)])
def test_follows_the_paper(runtime, period, alpha, beta):
    strategy = slowmo(0.02, period, slow_lr=alpha, slow_momentum=beta)
    check(runtime, strategy, [0.02] * ROUNDS, period, alpha, beta)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("buffers", ["reset", "keep", "average"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_base_momentum_and_line_two(runtime, period, buffers, nesterov):
    strategy = slowmo(0.01, period, momentum=0.9, nesterov=nesterov, buffers=buffers)
    check(
        runtime,
        strategy,
        [0.01] * ROUNDS,
        period,
        1.0,
        0.5,
        base_beta=0.9,
        base_nesterov=nesterov,
        at_sync=buffers,
    )


def test_base_buffers_are_reset_unless_told_otherwise():
    check("vmapped", slowmo(0.01, 4, momentum=0.9), [0.01] * ROUNDS, 4, 1.0, 0.5, base_beta=0.9)


def test_the_slow_buffer_does_not_notice_a_rate_drop():
    strategy = slowmo(StepRate(0.05, {3: 0.1}), 4, slow_lr=0.9, slow_momentum=0.7)
    check("vmapped", strategy, [0.05] * 3 + [0.005] * 3, 4, 0.9, 0.7)
