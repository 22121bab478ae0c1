import math

import pytest

from strategies.fedprox import fedprox
from tests.choices import every_pair
from tests.oracles import fedprox as oracle
from tests.problems import RUNTIMES, distance, least_squares, repeated_rows, simulate

PROBLEM = least_squares()
ROUNDS = 5


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 6])
@pytest.mark.parametrize("mu", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_follows_the_paper(runtime, period, mu, weights):
    strategy = fedprox(0.05, period, mu, weights=weights)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    p = PROBLEM.by_examples if weights == "examples" else PROBLEM.uniform
    x = oracle.fedprox(PROBLEM.gradients, PROBLEM.start, p, [0.05] * ROUNDS, [period] * 5, mu)
    assert distance(result.params, x) < 1e-12


def test_epochs_give_large_clients_more_steps():
    problem = repeated_rows()
    strategy = fedprox(0.05, 1, 0.7, epochs=2)
    result = simulate(problem, strategy, ROUNDS, batch_size=3)
    tau = [math.ceil(2 * n / 3) for n in problem.sizes]
    x = oracle.fedprox(
        problem.gradients, problem.start, problem.by_examples, [0.05] * ROUNDS, tau, 0.7
    )
    assert distance(result.params, x) < 1e-12
