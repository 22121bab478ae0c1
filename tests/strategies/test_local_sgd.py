import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.local_sgd import local_sgd
from tests.choices import every_pair
from tests.oracles import local_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
ROUNDS = 6


def expected(problem=PROBLEM, p=PROBLEM.uniform, rates=(0.05,) * ROUNDS, period=4, **options):
    periods = [period] * len(rates)
    return oracle.local_sgd(problem.gradients, problem.start, p, rates, periods, **options)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 3, 10])
@pytest.mark.parametrize("weights", ["uniform", "examples"])
def test_follows_the_paper(runtime, period, weights):
    result = simulate(PROBLEM, local_sgd(0.05, period, weights=weights), ROUNDS, runtime=runtime)
    p = PROBLEM.uniform if weights == "uniform" else PROBLEM.by_examples
    x = expected(p=p, period=period)
    assert distance(result.params, x) < 1e-12
    # After the last synchronisation every client holds the mean.
    assert distance(result.client_params, [x] * len(PROBLEM.sizes)) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("buffers", ["keep", "reset", "average"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("period", [1, 4])
def test_momentum_and_what_a_synchronisation_does_to_it(runtime, buffers, nesterov, period):
    strategy = local_sgd(0.02, period, momentum=0.9, nesterov=nesterov, buffers=buffers)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x = expected(rates=[0.02] * ROUNDS, period=period, beta=0.9, nesterov=nesterov, at_sync=buffers)
    assert distance(result.params, x) < 1e-12


def test_the_three_treatments_of_buffers_differ():
    ends = [expected(beta=0.9, at_sync=buffers) for buffers in ("keep", "reset", "average")]
    assert distance(ends[0], ends[1]) > 1e-3
    assert distance(ends[0], ends[2]) > 1e-3
    assert distance(ends[1], ends[2]) > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weight_decay_joins_the_gradient(momentum):
    strategy = local_sgd(0.02, 4, momentum=momentum, weight_decay=0.3)
    result = simulate(PROBLEM, strategy, ROUNDS)
    x = expected(rates=[0.02] * ROUNDS, beta=momentum, decay=0.3)
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_rate_drop_multiplies_the_rate(momentum):
    strategy = local_sgd(StepRate(0.05, {2: 0.5, 4: 0.2}), 4, momentum=momentum)
    result = simulate(PROBLEM, strategy, ROUNDS)
    x = expected(rates=[0.05, 0.05, 0.025, 0.025, 0.005, 0.005], beta=momentum)
    assert distance(result.params, x) < 1e-12


def test_a_model_of_two_layers_is_one_flat_vector():
    problem = two_layers()
    result = simulate(problem, local_sgd(0.05, 4, momentum=0.5), ROUNDS)
    assert distance(result.params, expected(problem, beta=0.5)) < 1e-12
