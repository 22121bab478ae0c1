import numpy as np
import pytest

from fedlocal.vectors.rng import Purpose, generator
from strategies.ad_psgd import ad_psgd
from tests.choices import every_pair
from tests.oracles.ad_psgd import ad_psgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate
from tests.timing import CLOCKS, away

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6


def on_a_ring(seed: int):
    def neighbour(i: int, count: int) -> int:
        both = sorted([(i - 1) % K, (i + 1) % K])
        return both[int(2 * generator(seed, Purpose.NEIGHBOUR, i, count).random())]

    return neighbour


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("clock", CLOCKS, ids=["constant", "exponential"])
@pytest.mark.parametrize(("period", "seed"), [(1, 0), (3, 7)])
def test_pairs_meet_on_a_ring(runtime, clock, period, seed):
    strategy = ad_psgd(0.05, period, seed=seed)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime, clock=clock)
    trips = away(clock, PROBLEM, period)
    x = oracle(PROBLEM.gradients, PROBLEM.start, 0.05, period, trips, on_a_ring(seed), ROUNDS * K)
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12


def test_the_mean_moves_by_progress_alone():
    # A pair on its mean leaves the mean of all where it was: nothing moves without a gradient.
    result = simulate(PROBLEM, ad_psgd(1e-9, 1), ROUNDS)
    assert distance(result.params, PROBLEM.start) < 1e-6
    trained = simulate(PROBLEM, ad_psgd(0.05, 1), ROUNDS)
    assert distance(trained.params, PROBLEM.start) > 1e-2


def test_clients_differ_and_come_together():
    result = simulate(PROBLEM, ad_psgd(0.02, 1, graph="complete"), 300)
    assert 1e-4 < float((result.client_params - result.params).abs().max()) < 1.0


def test_a_client_without_neighbours_is_refused():
    alone = np.eye(K)
    with pytest.raises(ValueError, match="connected"):
        simulate(PROBLEM, ad_psgd(0.1, 1, graph=alone), 1)
