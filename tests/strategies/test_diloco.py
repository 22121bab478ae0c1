import pytest

from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.diloco import diloco
from tests.oracles import diloco as oracle
from tests.problems import distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


@pytest.mark.parametrize("period", [1, 4])
def test_follows_the_paper(period):
    result = simulate(PROBLEM, diloco(0.03, period), ROUNDS)
    x = oracle.diloco(
        PROBLEM.gradients, PROBLEM.start, [0.03] * ROUNDS, period, 0.7, 0.9, 0.1, (0.9, 0.95)
    )
    assert distance(result.params, x) < 1e-12
    assert distance(result.client_params, [x] * 5) < 1e-12


def test_every_hyperparameter_counts():
    strategy = diloco(
        StepRate(0.05, {3: 0.2}),
        3,
        outer_lr=0.4,
        outer_momentum=0.6,
        weight_decay=0.5,
        betas=(0.7, 0.8),
    )
    result = simulate(PROBLEM, strategy, ROUNDS)
    rates = [0.05] * 3 + [0.01] * 3
    x = oracle.diloco(PROBLEM.gradients, PROBLEM.start, rates, 3, 0.4, 0.6, 0.5, (0.7, 0.8))
    assert distance(result.params, x) < 1e-12


def test_clients_may_count_by_their_examples():
    result = simulate(PROBLEM, diloco(0.03, 4, weights="examples"), ROUNDS)
    rates, betas = [0.03] * ROUNDS, (0.9, 0.95)
    x = oracle.diloco(
        PROBLEM.gradients, PROBLEM.start, rates, 4, 0.7, 0.9, 0.1, betas, p=PROBLEM.by_examples
    )
    assert distance(result.params, x) < 1e-12
    assert distance(result.params, simulate(PROBLEM, diloco(0.03, 4), ROUNDS).params) > 1e-4


@pytest.mark.parametrize("option", ["momentum", "nesterov"])
def test_momentum_has_names_of_its_own(option):
    with pytest.raises(ValueError, match=f"diloco takes no {option}.*first of betas"):
        diloco(**{option: 0.9})
