import pytest

from strategies.one_shot import one_shot
from tests.oracles import one_shot as oracle
from tests.problems import distance, least_squares, simulate

PROBLEM = least_squares()


@pytest.mark.parametrize("period", [1, 25])
def test_follows_the_paper_and_stops_after_one_round(period):
    result = simulate(PROBLEM, one_shot(0.05, period), 50)
    x = oracle.one_shot(PROBLEM.gradients, PROBLEM.start, PROBLEM.uniform, 0.05, period)
    assert distance(result.params, x) < 1e-12
    assert len(result.history) == len(simulate(PROBLEM, one_shot(0.05, period), 1).history)
    assert result.history[-1]["local_steps"] == period
