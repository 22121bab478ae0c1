from dataclasses import replace

import numpy as np
import pytest

from fedlocal.slots.compress import (
    QSGD,
    ErrorFeedback,
    Identity,
    PerLayer,
    ScaledSign,
    TernGrad,
    TopK,
)
from fedlocal.slots.inner.lr_schedules import StepRate
from strategies.choco_sgd import choco_sgd
from tests.choices import every_pair
from tests.oracles import choco_sgd as oracle
from tests.oracles.compressors import identity, per_layer, scaled_sign, top_k
from tests.problems import RUNTIMES, distance, least_squares, simulate, two_layers

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS = 6
RING = sum(np.roll(np.eye(K), shift, 0) for shift in (-1, 0, 1)) / 3
PATH = np.diag([2, 1, 1, 1, 2]) / 3 + (np.eye(K, k=1) + np.eye(K, k=-1)) / 3
ORDERS = {"mix_first": oracle.iclr, "compress_first": oracle.icml}

COMPRESSORS = {
    "identity": (Identity(), identity),
    "top": (TopK(0.4), top_k(0.4)),
    "sign": (ScaledSign(), scaled_sign),
}


def check(runtime, strategy, order, rates, period, matrix, gamma, compress, problem=PROBLEM, **on):
    result = simulate(problem, strategy, len(rates), runtime=runtime)
    x, hat = ORDERS[order](
        problem.gradients, problem.start, rates, period, matrix, gamma, compress, **on
    )
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12
    assert distance(result.server_state.mixing.beliefs, hat) < 1e-12
    assert distance(result.client_states.mixing.belief, hat) < 1e-12


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_follows_the_papers(runtime, order, period, compressor):
    ours, theirs = COMPRESSORS[compressor]
    strategy = choco_sgd(0.05, period, gossip_step=0.3, compressor=ours, order=order)
    check(runtime, strategy, order, [0.05] * ROUNDS, period, RING, 0.3, theirs)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_and_a_matrix_of_ones_own(runtime, order, nesterov):
    strategy = choco_sgd(
        StepRate(0.02, {3: 0.1}), 2, PATH, 0.2, TopK(0.4), order, momentum=0.9, nesterov=nesterov
    )
    rates = [0.02] * 3 + [0.002] * 3
    on = {"beta": 0.9, "nesterov": nesterov}
    check(runtime, strategy, order, rates, 2, PATH, 0.2, top_k(0.4), **on)


def test_layers_compressed_by_themselves():
    strategy = choco_sgd(0.05, 1, "ring", 0.3, PerLayer(ScaledSign()))
    signs = per_layer(scaled_sign, (21, 3))
    rates = [0.05] * ROUNDS
    check("vmapped", strategy, "mix_first", rates, 1, RING, 0.3, signs, problem=two_layers())


@pytest.mark.parametrize("order", ORDERS)
def test_step_by_theory(order):
    delta = 3 / 7  # TopK(0.4) keeps three of seven coordinates.
    rho = 1 - np.sort(abs(np.linalg.eigvalsh(RING)))[-2]
    beta = np.linalg.norm(np.eye(K) - RING, 2)
    gamma = rho**2 * delta
    gamma /= 16 * rho + rho**2 + 4 * beta**2 + 2 * rho * beta**2 - 8 * rho * delta
    strategy = choco_sgd(0.05, 2, gossip_step="theory", compressor=TopK(0.4), order=order)
    check("vmapped", strategy, order, [0.05] * ROUNDS, 2, RING, gamma, top_k(0.4))


def test_step_by_theory_knows_the_layers():
    strategy = choco_sgd(0.05, 1, "ring", "theory", PerLayer(TopK(0.4)))
    rho = 1 - np.sort(abs(np.linalg.eigvalsh(RING)))[-2]
    beta = np.linalg.norm(np.eye(K) - RING, 2)
    delta = 9 / 21  # of the layers, 21 and 3 scalars, the one that keeps the smaller share
    gamma = rho**2 * delta
    gamma /= 16 * rho + rho**2 + 4 * beta**2 + 2 * rho * beta**2 - 8 * rho * delta
    tops = per_layer(top_k(0.4), (21, 3))
    check("loop", strategy, "mix_first", [0.05] * 3, 1, RING, gamma, tops, problem=two_layers())


def test_describes_the_graph_and_the_step():
    line = choco_sgd(0.1, gossip_step=0.3).mixing.describe(8)
    assert "ring of 8" in line and "spectral gap 0.195" in line and "gossip step 0.3" in line


@pytest.mark.parametrize("given", [0, -0.1, 1.1, float("nan"), "hypothesis"])
def test_gossip_steps_out_of_range_are_refused(given):
    with pytest.raises(ValueError, match=r"gossip_step must be in \(0, 1\], or theory"):
        choco_sgd(0.1, gossip_step=given)


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order must be compress_first or mix_first"):
        choco_sgd(0.1, order="gradient_first")


@pytest.mark.parametrize(
    "compressor", [ErrorFeedback(TopK(0.4)), PerLayer(ErrorFeedback(ScaledSign()))], ids=str
)
def test_error_feedback_is_refused(compressor):
    with pytest.raises(ValueError, match="gossip needs a compressor without error feedback"):
        choco_sgd(0.1, compressor=compressor)


def test_theory_refuses_a_compressor_that_may_lose_anything():
    with pytest.raises(ValueError, match="is not known; give gossip_step a number"):
        choco_sgd(0.1, gossip_step="theory", compressor=TernGrad(clip=2.5))


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (np.roll(np.eye(K), 1, 0) / 2 + np.eye(K) / 2, "must be symmetric"),
        (RING * 0.9, "must sum to 1"),
        (np.stack([RING, PATH]), "changes from round to round"),
        (np.eye(K), "is not connected"),
        (np.eye(3), "3 x 3"),
    ],
    ids=["directed", "leaking", "changing", "isolated", "small"],
)
def test_graphs_that_do_not_fit_are_refused_before_the_run(graph, text):
    with pytest.raises(ValueError, match=text):
        simulate(PROBLEM, choco_sgd(0.1, graph=graph), 1)


def test_sampled_clients_are_refused():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, choco_sgd(0.1), 1, participation=0.5)


def test_a_lossy_downlink_is_refused():
    with pytest.raises(ValueError, match="every client receives the anchor exactly"):
        replace(choco_sgd(0.1), downlink=QSGD(4))
