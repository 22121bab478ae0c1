import math

import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.fedavg import fedavg
from tests.choices import every_pair
from tests.oracles import fedavg as oracle
from tests.problems import RUNTIMES, distance, least_squares, repeated_rows, simulate

PROBLEM = least_squares()
ROUNDS = 5


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 6])
@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_follows_the_paper(runtime, period, weights):
    strategy = fedavg(0.05, period, weights=weights)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    n = PROBLEM.sizes if weights == "examples" else [1] * 5
    x = oracle.fedavg(PROBLEM.gradients, PROBLEM.start, n, [0.05] * ROUNDS, [period] * 5)
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize("epochs", [1, 3])
def test_with_full_batches_an_epoch_is_a_step(epochs):
    result = simulate(PROBLEM, fedavg(0.05, epochs=epochs), ROUNDS)
    x = oracle.fedavg(
        PROBLEM.gradients, PROBLEM.start, PROBLEM.sizes, [0.05] * ROUNDS, [epochs] * 5
    )
    assert distance(result.params, x) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("weights", ["examples", "uniform"])
@pytest.mark.parametrize("epochs", [1, 2.5])
def test_epochs_give_large_clients_more_steps(runtime, weights, epochs):
    problem = repeated_rows()
    strategy = fedavg(StepRate(0.05, {3: 0.2}), epochs=epochs, weights=weights)
    result = simulate(problem, strategy, ROUNDS, batch_size=4, runtime=runtime)
    n = problem.sizes if weights == "examples" else [1] * 5
    tau = [math.ceil(epochs * n_i / 4) for n_i in problem.sizes]
    assert len(set(tau)) > 2
    rates = [0.05] * 3 + [0.01] * 2
    x = oracle.fedavg(problem.gradients, problem.start, n, rates, tau)
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize(("epochs", "steps"), [(1.1, 55), (0.5, 25), (0.01, 1), (0.99, 50)])
def test_the_number_of_steps_survives_rounding(epochs, steps):
    # 1.1 * 50 is 55.00000000000001 in floating point.
    result = simulate(repeated_rows((50,)), fedavg(0.01, epochs=epochs), 1, batch_size=1)
    assert result.history[-1]["local_steps"] == steps
