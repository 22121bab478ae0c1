import numpy as np
import pytest

from strategies.d_pasgd import d_pasgd
from tests.choices import every_pair
from tests.oracles import d_pasgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6

# Neighbours by hand, for five clients.
GRAPHS = {
    "ring": [[4, 1], [0, 2], [1, 3], [2, 4], [3, 0]],
    "star": [[1, 2, 3, 4], [0], [0], [0], [0]],
    "complete": [[1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]],
}
# A kite: a triangle with a tail, as links.
KITE = [[1, 2], [0, 2], [0, 1, 3], [2, 4], [3]]


class Kite:
    """What is read of a networkx graph."""

    nodes = "abcde"

    def is_directed(self):
        return False

    def edges(self):
        return [("a", "b"), ("c", "a"), ("b", "c"), ("c", "d"), ("e", "d"), ("a", "a")]


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("name", [*GRAPHS, "kite"])
def test_follows_the_rule_node_by_node(runtime, period, name):
    graph, neighbours = (name, GRAPHS[name]) if name in GRAPHS else (Kite(), KITE)
    result = simulate(PROBLEM, d_pasgd(0.02, period, graph), ROUNDS, runtime=runtime)
    x = oracle.d_pasgd(PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, period, neighbours)
    assert distance(result.client_params, x) < 1e-12


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_stays_with_the_client(nesterov):
    strategy = d_pasgd(0.02, 3, "ring", momentum=0.9, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, ROUNDS)
    x = oracle.d_pasgd(
        PROBLEM.gradients, PROBLEM.start, [0.02] * ROUNDS, 3, GRAPHS["ring"], 0.9, nesterov
    )
    assert distance(result.client_params, x) < 1e-12


def test_bytes_follow_the_links():
    star = simulate(PROBLEM, d_pasgd(0.02, 3, "star"), 1).ledger.records[0]
    degree = np.array([len(others) for others in GRAPHS["star"]])
    assert (star.uplink_bytes == degree * star.uplink_bytes[1]).all()
    assert (star.downlink_bytes == star.uplink_bytes).all()
