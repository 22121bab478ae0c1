"""Laws of compressed and event-triggered gossip; numbers are rows of the equivalence matrix."""

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.rounds.message_bytes import OVERHEAD
from fedlocal.slots.compress import QSGD, Identity, QuantisedTopK, RandomK, ScaledSign, TopK
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.mixing import as_graph
from fedlocal.slots.mixing.gossip import CompressedGossip
from fedlocal.slots.mixing.gossip_step import ChocoStep, SparqStep
from fedlocal.vectors.flat import ParamSpec
from strategies.choco_sgd import choco_sgd
from strategies.d_pasgd import d_pasgd
from strategies.local_sgd import local_sgd
from strategies.sparq_sgd import sparq_sgd
from strategies.squarm_sgd import squarm_sgd
from tests.compress.zoo import sent, uniforms
from tests.gaps import DIFFERENT, EXACT, end
from tests.gaps import client_gap as gap
from tests.laws.domain import ROUNDS, crowds, law, momenta, periods, rates, seeds
from tests.problems import (
    Problem,
    constant_gradients,
    distance,
    least_squares,
    mean_output,
    repeated_rows,
    simulate,
)

COMPRESSORS = [
    Identity(),
    TopK(0.3),
    RandomK(0.3),
    QSGD(2),
    ScaledSign(),
    QuantisedTopK(TopK(0.4), ScaledSign()),
    QuantisedTopK(TopK(0.4), QSGD(4)),
]
compressors = st.sampled_from(COMPRESSORS)
graphs = st.sampled_from(["ring", "complete", "star", "erdos_renyi:0.6:3"])
orders = st.sampled_from(["mix_first", "compress_first"])
steps = st.floats(0.05, 0.5)


def ring(num_clients: int) -> np.ndarray:
    return sum(np.roll(np.eye(num_clients), shift, 0) for shift in (-1, 0, 1)) / 3


# Row 13: exact messages and a full step are mixing with the matrix.


@given(problem=crowds, lr=rates, period=periods)
@law
def test_row_13_compress_first_is_mixing_after_the_steps(problem, lr, period):
    strategy = choco_sgd(lr, period, "ring", 1.0, Identity(), "compress_first")
    x = np.tile(problem.start, (len(problem.sizes), 1))
    for _ in range(ROUNDS):
        for _ in range(period):
            x = x - lr * np.array([g(x[i]) for i, g in enumerate(problem.gradients)])
        x = ring(len(x)) @ x
    assert distance(end(problem, strategy, batch_size=None).client_params, x) < EXACT


@given(problem=crowds, lr=rates, period=periods)
@law
def test_row_13_mix_first_adds_the_steps_unmixed(problem, lr, period):
    strategy = choco_sgd(lr, period, "ring", 1.0, Identity(), "mix_first")
    x = np.tile(problem.start, (len(problem.sizes), 1))
    for _ in range(ROUNDS):
        y = x
        for _ in range(period):
            y = y - lr * np.array([g(y[i]) for i, g in enumerate(problem.gradients)])
        x = ring(len(x)) @ x + (y - x)
    assert distance(end(problem, strategy, batch_size=None).client_params, x) < EXACT


@given(problem=crowds, lr=rates, period=periods, graph=graphs, seed=seeds)
@law
def test_row_13_both_orders_on_mini_batches_are_decentralised_sgd(problem, lr, period, graph, seed):
    for ours, theirs in [
        ("compress_first", "adapt_then_combine"),
        ("mix_first", "combine_then_adapt"),
    ]:
        gossip = choco_sgd(lr, period, graph, 1.0, Identity(), ours)
        assert gap(problem, gossip, d_pasgd(lr, period, graph, theirs), seed=seed) < EXACT


def test_row_13_the_two_orders_differ():
    one, other = (
        choco_sgd(0.05, 1, "ring", 1.0, Identity(), o) for o in ("mix_first", "compress_first")
    )
    assert gap(least_squares(), one, other) > DIFFERENT


# Row 14: among all, exact and never silent, gossip is local SGD.


@given(problem=crowds, lr=rates, period=periods, seed=seeds)
@law
def test_row_14_sparq_sgd_among_all_is_local_sgd(problem, lr, period, seed):
    sparq = sparq_sgd(lr, period, "complete", 1.0, Identity(), threshold=0)
    assert gap(problem, sparq, local_sgd(lr, period), seed=seed) < EXACT


@given(problem=crowds, lr=rates, period=periods, beta=momenta, seed=seeds)
@law
def test_row_14_squarm_sgd_among_all_is_local_sgd_with_nesterov(problem, lr, period, beta, seed):
    squarm = squarm_sgd(lr, period, "complete", 1.0, Identity(), beta)
    local = local_sgd(lr, period, momentum=beta, nesterov=True, buffers="keep")
    assert gap(problem, squarm, local, seed=seed) < EXACT


@pytest.mark.parametrize("change", [{"graph": "ring"}, {"gossip_step": 0.5}, {"threshold": 1e4}])
def test_row_14_any_less_is_not_local_sgd(change):
    words = {"graph": "complete", "gossip_step": 1.0, "threshold": 0.0, **change}
    sparq = sparq_sgd(0.05, 4, compressor=Identity(), **words)
    assert gap(least_squares(), sparq, local_sgd(0.05, 4)) > DIFFERENT


# Row 15: what compressors lose and triggers keep back never moves the mean.


@given(
    vectors=st.integers(3, 5).map(lambda k: np.random.default_rng(k).standard_normal((k, 6))),
    compressor=compressors,
    graph=graphs,
    order=orders,
    step=steps,
    period=periods,
    seed=seeds,
)
@law
def test_row_15_the_mean_follows_the_mean_gradient(
    vectors, compressor, graph, order, step, period, seed
):
    """With gradients that are the same everywhere, the mean's path is known in advance."""
    problem = constant_gradients(vectors, size=3)
    strategy = choco_sgd(0.05, period, graph, step, compressor, order)
    result = end(problem, strategy, loss=mean_output, seed=seed)
    mean = problem.start - 0.05 * period * ROUNDS * vectors.mean(0)
    assert distance(result.params, mean) < EXACT
    if compressor != Identity():
        assert distance(result.client_params, np.tile(mean, (len(vectors), 1))) > DIFFERENT


@given(
    problem=crowds,
    compressor=compressors,
    graph=graphs,
    step=steps,
    threshold=st.sampled_from([0.0, 100.0, 1e4]),
    seed=seeds,
)
@law
def test_row_15_no_round_mixes_the_mean_away(problem, compressor, graph, step, threshold, seed):
    """Pulls sum to zero, so the mean only moves by the mean of the local steps."""
    strategy = squarm_sgd(0.02, 3, graph, step, compressor, 0.8, threshold)
    result = end(problem, strategy, seed=seed)
    pulls = result.server_state.anchor
    if threshold < 1e4:
        assert pulls.abs().max() > 1e-6
    assert pulls.sum(0).abs().max() < EXACT
    assert distance(result.params, result.client_states.mixing.own.mean(0)) < EXACT


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
@pytest.mark.parametrize("order", ["mix_first", "compress_first"])
def test_row_15_on_curved_losses_round_by_round(compressor, order):
    problem, lr = least_squares(), 0.05
    strategy = choco_sgd(lr, 1, "ring", 0.3, compressor, order)
    models = [simulate(problem, strategy, t).client_params.numpy() for t in (1, 2, 3, 4)]
    for before, after in pairwise(models):
        gradients = [g(before[i]) for i, g in enumerate(problem.gradients)]
        assert distance(after.mean(0), before.mean(0) - lr * np.mean(gradients, axis=0)) < EXACT


# A threshold of infinity: nobody ever talks.


@given(beta=st.just(0.0) | momenta, compressor=compressors, period=periods, seed=seeds)
@law
def test_infinite_threshold_isolates_the_workers(beta, compressor, period, seed):
    problem = repeated_rows()
    silent = squarm_sgd(0.03, period, "ring", 0.5, compressor, beta, threshold=math.inf)
    result = end(problem, silent, seed=seed)
    alone = [
        Problem((a,), (b,), problem.start, problem.widths, (g,))
        for a, b, g in zip(problem.features, problem.targets, problem.gradients, strict=True)
    ]
    local = local_sgd(0.03, period, momentum=beta, nesterov=beta > 0)
    ends = [simulate(one, local, ROUNDS, batch_size=2, seed=seed).params for one in alone]
    assert distance(result.client_params, torch.stack(ends)) < EXACT
    assert result.server_state.mixing.beliefs.abs().max() == 0


def test_a_silent_node_sends_a_header_and_a_byte_to_each_neighbour():
    silent = sparq_sgd(0.05, 4, "star", compressor=TopK(0.4), threshold=math.inf)
    result = simulate(least_squares(), silent, 3)
    for record in result.ledger.records:
        assert record.uplink_bytes.tolist() == [(OVERHEAD + 1) * links for links in (4, 1, 1, 1, 1)]
        assert record.uplink_bytes.tolist() == record.downlink_bytes.tolist()


def test_the_higher_the_threshold_the_fewer_bytes():
    sent = []
    for threshold in (0.0, 100.0, 1000.0, math.inf):
        strategy = sparq_sgd(0.05, 4, "ring", 0.3, TopK(0.4), threshold)
        sent.append(end(least_squares(), strategy, 12).ledger.uplink_bytes)
    assert sent == sorted(sent, reverse=True) and len(set(sent)) == len(sent)


# The methods contain one another.


@given(problem=crowds, lr=rates, compressor=compressors, graph=graphs, step=steps, seed=seeds)
@law
def test_sparq_sgd_step_by_step_and_never_silent_is_choco_sgd(
    problem, lr, compressor, graph, step, seed
):
    sparq = sparq_sgd(lr, 1, graph, step, compressor, threshold=0)
    choco = choco_sgd(lr, 1, graph, step, compressor, "compress_first")
    assert gap(problem, sparq, choco, seed=seed) < EXACT


@given(
    problem=crowds,
    lr=rates,
    compressor=compressors,
    threshold=st.sampled_from([0.0, 100.0]),
    exponent=st.floats(0, 0.9),
    period=periods,
    seed=seeds,
)
@law
def test_squarm_sgd_without_momentum_is_sparq_sgd(
    problem, lr, compressor, threshold, exponent, period, seed
):
    words = {"compressor": compressor, "threshold": threshold, "threshold_exponent": exponent}
    squarm = squarm_sgd(lr, period, momentum=0.0, **words)
    # The piece with a buffer, which squarm_sgd leaves out by itself.
    squarm = replace(squarm, inner=Momentum(lr, momentum=0.0, nesterov=True))
    assert gap(problem, squarm, sparq_sgd(lr, period, **words), seed=seed) < EXACT


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"threshold": 1000.0}, {"gossip_step": 0.2}])
def test_momentum_threshold_and_gossip_step_each_matter(change):
    words = {"momentum": 0.0, "threshold": 0.0, "gossip_step": 0.5, **change}
    squarm = squarm_sgd(0.02, 4, compressor=TopK(0.4), **words)
    assert (
        gap(least_squares(), squarm, sparq_sgd(0.02, 4, compressor=TopK(0.4), threshold=0))
        > DIFFERENT
    )


# The step towards the neighbours.


def disagreement(step, compressor, graph, num_clients, rounds=80) -> list[float]:
    """|x - mean|^2 + |x - x-hat|^2 over all nodes, round by round, when nobody takes a step."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((num_clients, 30)))
    mixing = CompressedGossip(as_graph(graph), step).bind(ParamSpec(("x",), ((30,),)))
    state, found = mixing.init(x[0], num_clients), []
    anchor, clients = mixing.anchor(x[0], num_clients), torch.arange(num_clients)
    for t in range(rounds):
        told = torch.stack(
            [
                sent(compressor, v, uniforms(30, seed=1000 * i + t))
                for i, v in enumerate(x - state.beliefs)
            ]
        )
        move, state = mixing.mix(state, anchor, told, clients, SimpleNamespace(round_index=t))
        anchor = anchor + move
        x = x + anchor
        found.append(float((x - x.mean(0)).square().sum() + (x - state.beliefs).square().sum()))
    return found


@pytest.mark.parametrize("graph", ["ring", "complete"])
@pytest.mark.parametrize("rule", [ChocoStep, SparqStep])
@pytest.mark.parametrize("compressor", [TopK(0.1), ScaledSign(), Identity()], ids=str)
def test_the_steps_of_the_theorems_bring_nodes_together_in_every_round(graph, rule, compressor):
    found = disagreement(rule(compressor), compressor, graph, 8)
    assert all(after < before for before, after in pairwise(found))


def test_a_full_step_behind_a_compressor_drives_nodes_apart():
    found = disagreement(1.0, TopK(0.1), "ring", 8)
    assert found[-1] > 10 * found[0]
    assert disagreement(1.0, Identity(), "ring", 8)[-1] < 1e-6 * found[0]


@given(problem=crowds, lr=rates, seed=seeds, order=orders)
@law
def test_permuting_clients_of_a_complete_graph_permutes_their_models(problem, lr, seed, order):
    back = slice(None, None, -1)
    turned = replace(
        problem,
        features=problem.features[back],
        targets=problem.targets[back],
        gradients=problem.gradients[back],
    )
    strategy = choco_sgd(lr, 2, "complete", 0.3, TopK(0.5), order)
    one, other = (simulate(p, strategy, ROUNDS).client_params for p in (problem, turned))
    assert distance(one.flip(0), other) < EXACT
