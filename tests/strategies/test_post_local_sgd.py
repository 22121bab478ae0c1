import pytest

from strategies.post_local_sgd import post_local_sgd
from tests.choices import every_pair
from tests.oracles import post_local_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 7


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("switch_round", [0, 3, ROUNDS])
@pytest.mark.parametrize(
    "momentum", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}], ids=repr
)
def test_follows_the_authors_code(runtime, switch_round, momentum):
    strategy = post_local_sgd(0.02, 4, switch_round, **momentum)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x = oracle.post_local_sgd(
        PROBLEM.gradients,
        PROBLEM.start,
        0.02,
        4,
        switch_round,
        ROUNDS,
        momentum.get("momentum", 0.0),
        momentum.get("nesterov", False),
    )
    assert distance(result.params, x) < 1e-12
    assert result.history[-1]["local_steps"] == switch_round + 4 * (ROUNDS - switch_round)


def test_averaging_gradients_instead_differs_only_after_the_switch_and_with_momentum():
    def end(**options):
        return oracle.post_local_sgd(PROBLEM.gradients, PROBLEM.start, 0.02, 4, **options)

    for options, low, high in [
        ({"switch": 3, "rounds": 7, "beta": 0.0}, -1, 1e-13),
        ({"switch": 7, "rounds": 7, "beta": 0.9}, -1, 1e-13),
        ({"switch": 3, "rounds": 7, "beta": 0.9}, 1e-3, 10),
    ]:
        assert low < distance(end(**options), end(**options, average="gradients")) < high
