import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.minibatch_sgd import minibatch_sgd
from tests.choices import every_pair
from tests.oracles import minibatch_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("weights", ["uniform", "examples"])
@pytest.mark.parametrize(
    "momentum", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}], ids=repr
)
def test_follows_the_paper(runtime, weights, momentum):
    result = simulate(PROBLEM, minibatch_sgd(0.05, weights=weights, **momentum), 9, runtime=runtime)
    p = PROBLEM.uniform if weights == "uniform" else PROBLEM.by_examples
    expected = oracle.minibatch_sgd(
        PROBLEM.gradients,
        PROBLEM.start,
        p,
        [0.05] * 9,
        momentum.get("momentum", 0.0),
        momentum.get("nesterov", False),
    )
    assert distance(result.params, expected) < 1e-12


def test_the_rate_drops_at_the_named_round():
    strategy = minibatch_sgd(StepRate(0.05, {4: 0.1}), momentum=0.9)
    result = simulate(PROBLEM, strategy, 7)
    rates = [0.05] * 4 + [0.005] * 3
    expected = oracle.minibatch_sgd(
        PROBLEM.gradients, PROBLEM.start, PROBLEM.uniform, rates, beta=0.9
    )
    assert distance(result.params, expected) < 1e-12
