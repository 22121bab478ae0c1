from dataclasses import replace

import numpy as np
import pytest

from fedlocal.slots.compress import TopK
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.outer.sgd import OuterSGD
from strategies.cooperative_sgd import cooperative_sgd
from tests.choices import every_pair
from tests.oracles import cooperative_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6
LR = [0.02] * ROUNDS


def stochastic(nodes, seed):
    """A mean of permutations: doubly stochastic, and not symmetric."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4))
    return sum(s * np.eye(nodes)[rng.permutation(nodes)] for s in shares)


def anchor_matrix(alpha):
    """Clients are pulled to the one node without data, which moves to their mean."""
    matrix = np.eye(K + 1) * (1 - alpha)
    matrix[:K, K] = alpha
    matrix[K, :K], matrix[K, K] = (1 - alpha) / K, alpha
    return matrix


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("order", ["adapt_then_combine", "combine_then_adapt"])
@pytest.mark.parametrize("auxiliary", [0, 1, 3])
def test_follows_the_paper(runtime, period, order, auxiliary):
    matrix = stochastic(K + auxiliary, seed=3)
    strategy = cooperative_sgd(0.02, period, matrix, auxiliary, order)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    before = order == "combine_then_adapt"
    X = oracle.cooperative_sgd(
        PROBLEM.gradients, PROBLEM.start, LR, period, [matrix], auxiliary, before
    )
    assert distance(result.client_params, X[:K]) < 1e-12
    # u of the paper, over all columns.
    assert distance(result.params, X.mean(0)) < 1e-12
    assert distance(result.server_state.mixing.models, X[K:]) < 1e-12


def test_matrices_that_take_turns_and_momentum():
    matrices = np.stack([stochastic(K, seed) for seed in range(3)])
    strategy = cooperative_sgd(0.02, 3, matrices, momentum=0.8)
    result = simulate(PROBLEM, strategy, ROUNDS)
    X = oracle.cooperative_sgd(
        PROBLEM.gradients, PROBLEM.start, LR, 3, list(matrices), momentum=0.8
    )
    assert distance(result.client_params, X) < 1e-12


def test_an_anchor_need_not_be_doubly_stochastic():
    matrix = anchor_matrix(0.4)
    rates = [0.02, 0.02, 0.005, 0.005, 0.005, 0.005]
    strategy = cooperative_sgd(StepRate(0.02, {2: 0.25}), 2, matrix, auxiliary=1)
    result = simulate(PROBLEM, strategy, ROUNDS)
    X = oracle.cooperative_sgd(PROBLEM.gradients, PROBLEM.start, rates, 2, [matrix], 1)
    assert distance(result.client_params, X[:K]) < 1e-12
    assert distance(result.server_state.mixing.models, X[K:]) < 1e-12


def test_a_server_holds_auxiliary_variables_so_a_star_counts():
    matrix = anchor_matrix(0.4)
    with_server = simulate(PROBLEM, cooperative_sgd(0.02, 2, matrix, auxiliary=1), 1)
    without = simulate(PROBLEM, cooperative_sgd(0.02, 2, "complete"), 1)
    assert without.ledger.uplink_bytes == (K - 1) * with_server.ledger.uplink_bytes
    assert with_server.ledger.uplink_bytes == with_server.ledger.downlink_bytes


def test_a_graph_that_does_not_fit_the_clients_is_refused_before_the_run():
    with pytest.raises(ValueError, match=r"3 x 3, for 3 nodes, and there are 5"):
        simulate(PROBLEM, cooperative_sgd(0.02, 2, np.full((3, 3), 1 / 3)), 1)
    with pytest.raises(ValueError, match=r"3 x 3, for 3 nodes, and there are 6"):
        simulate(PROBLEM, cooperative_sgd(0.02, 2, np.full((3, 3), 1 / 3), auxiliary=1), 1)


def test_columns_keep_the_mean_and_say_must_be_equal():
    skewed = np.full((K, K), 1 / K)
    skewed[:, 0] += 0.1
    skewed[:, 1] -= 0.1
    with pytest.raises(
        ValueError, match=r"every column of W must sum to 1, one sums to (1\.5|0\.5);"
    ):
        simulate(PROBLEM, cooperative_sgd(0.02, 2, skewed), 1)
    unequal = anchor_matrix(0.4)
    unequal[K, 0] += 0.05
    unequal[K, 1] -= 0.05
    with pytest.raises(ValueError, match="unequal weights"):
        simulate(PROBLEM, cooperative_sgd(0.02, 2, unequal, auxiliary=1), 1)


def test_what_a_server_would_have_to_do_is_refused():
    base = cooperative_sgd(0.02, 2, "ring")
    with pytest.raises(ValueError, match="every client receives the anchor exactly"):
        replace(base, downlink=TopK(0.5))
    with pytest.raises(ValueError, match="a server averages the models"):
        replace(base, outer=OuterSGD(lr=1.0, momentum=0.5))
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, base, 1, participation=0.5)
    with pytest.raises(ValueError, match="order must be adapt_then_combine or combine_then_adapt"):
        cooperative_sgd(0.02, 2, "ring", order="sideways")
    with pytest.raises(ValueError, match="auxiliary must be a whole number >= 0, got -1"):
        cooperative_sgd(0.02, 2, "ring", auxiliary=-1)
