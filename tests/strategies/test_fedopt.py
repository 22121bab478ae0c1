import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.fedopt import fedopt
from tests.choices import every_pair
from tests.oracles import fedopt as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 8
OPTIMISERS = {"sgd": 0.5, "adam": 0.1, "yogi": 0.1, "adagrad": 0.1}


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("weights", ["examples", "uniform"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_follows_the_paper(runtime, period, weights, optimiser):
    eta = OPTIMISERS[optimiser]
    strategy = fedopt(0.05, period, optimiser=optimiser, server_lr=eta, weights=weights)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    p = PROBLEM.by_examples if weights == "examples" else PROBLEM.uniform
    x = oracle.fedopt(
        PROBLEM.gradients,
        PROBLEM.start,
        p,
        [0.05] * ROUNDS,
        period,
        optimiser,
        eta,
        # The paper's choice, which is also the default here.
        beta1=0.0 if optimiser == "adagrad" else 0.9,
        beta2=0.99,
        tau=1e-3,
        v0=1e-6,
    )
    assert distance(result.params, x) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("v0", [0.0, 0.01])
def test_every_hyperparameter_counts(runtime, optimiser, v0):
    strategy = fedopt(
        StepRate(0.05, {3: 0.2}),
        4,
        optimiser=optimiser,
        server_lr=0.2,
        beta1=0.5,
        beta2=0.8,
        tau=0.05,
        initial_accumulator=v0,
    )
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    rates = [0.05] * 3 + [0.01] * 5
    x = oracle.fedopt(
        PROBLEM.gradients,
        PROBLEM.start,
        PROBLEM.by_examples,
        rates,
        4,
        optimiser,
        0.2,
        beta1=0.5,
        beta2=0.8,
        tau=0.05,
        v0=v0,
    )
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize(
    ("optimiser", "server_lr"), [("sgd", 1.0), ("adam", 0.03), ("yogi", 0.03), ("adagrad", 0.1)]
)
def test_each_optimiser_has_a_step_size_of_its_own(optimiser, server_lr):
    given = fedopt(0.05, 4, optimiser=optimiser, server_lr=server_lr)
    assert fedopt(0.05, 4, optimiser=optimiser) == given


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="optimiser must be sgd, adam, yogi or adagrad, got 'ada'"):
        fedopt(0.05, optimiser="ada")  # type: ignore[arg-type]
