"""Laws of methods that hide their messages behind computation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal import Clock
from fedlocal.slots import Timing
from fedlocal.slots.compress import QSGD, ScaledSign, TopK
from fedlocal.slots.compress.contractive import Contractive
from strategies.cocod_sgd import cocod_sgd
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.overlap_local_sgd import overlap_local_sgd
from tests.gaps import DIFFERENT, EXACT
from tests.laws.domain import ROUNDS, crowds, law, periods, rates, runtimes, seeds
from tests.oracles.overlap_local_sgd import anchor_matrix
from tests.problems import (
    constant_gradients,
    distance,
    least_squares,
    mean_output,
    simulate,
)

momenta = st.sampled_from([0.0, 0.5, 0.9])


def alone(problem, i, strategy, rounds, **options):
    """Client i's end if there were no others."""
    one = replace(
        problem, features=(problem.features[i],), targets=(problem.targets[i],),
        gradients=(problem.gradients[i],),
    )  # fmt: skip
    return simulate(one, strategy, rounds, **options).params


@law
@given(problem=crowds, lr=rates, period=periods, alpha=st.floats(0.05, 0.95), runtime=runtimes)
def test_row_18_overlap_is_cooperative_sgd_with_the_anchors_matrix(
    problem, lr, period, alpha, runtime
):
    result = simulate(problem, overlap_local_sgd(lr, period, alpha), ROUNDS, runtime=runtime)
    clients = len(problem.sizes)
    matrix = anchor_matrix(clients, alpha)
    rows = np.tile(problem.start, (clients + 1, 1))
    for _ in range(ROUNDS):
        waiting = rows[clients]
        for i, gradient in enumerate(problem.gradients):
            for _ in range(period):
                rows[i] = rows[i] - lr * gradient(rows[i])
        rows = matrix @ rows
    assert distance(result.client_params, rows[:clients]) < EXACT
    # The server has told of the anchor before; the next one is the mean of the pulled models.
    assert distance(result.server_state.anchor[0], waiting) < EXACT
    assert distance(result.params, rows[clients]) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, beta=momenta, seed=seeds, runtime=runtimes)
def test_row_18_alpha_one_never_leaves_the_start(problem, lr, period, beta, seed, runtime):
    strategy = overlap_local_sgd(lr, period, alpha=1.0, momentum=beta)
    result = simulate(problem, strategy, ROUNDS, batch_size=2, seed=seed, runtime=runtime)
    assert distance(result.client_params, np.tile(problem.start, (len(problem.sizes), 1))) < EXACT
    # Although everybody trains.
    assert result.client_states.mixing.own.sub(result.params).abs().max() > DIFFERENT


@law
@given(problem=crowds, lr=rates, period=periods, beta=momenta, local=momenta)
def test_alpha_zero_is_every_client_by_itself(problem, lr, period, beta, local):
    strategy = overlap_local_sgd(lr, period, 0.0, beta, local_momentum=local, nesterov=False)
    result = simulate(problem, strategy, ROUNDS)
    by_itself = local_sgd(lr, period, momentum=local)
    for i, mine in enumerate(result.client_params):
        assert distance(mine, alone(problem, i, by_itself, ROUNDS)) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, seed=seeds, alpha=st.floats(0.1, 0.9))
def test_overlap_is_never_local_sgd(problem, lr, period, seed, alpha):
    options = {"batch_size": 2, "seed": seed}
    late = simulate(problem, overlap_local_sgd(lr, period, alpha), ROUNDS, **options)
    local = simulate(problem, local_sgd(lr, period), ROUNDS, **options)
    assert distance(late.params, local.params) > DIFFERENT


@law
@given(problem=crowds, lr=st.floats(0.02, 0.05), period=st.sampled_from([2, 5]), seed=seeds)
def test_row_19_cocod_is_not_local_sgd(problem, lr, period, seed):
    options = {"batch_size": 2, "seed": seed}
    late = simulate(problem, cocod_sgd(lr, period), ROUNDS, **options)
    local = simulate(problem, local_sgd(lr, period), ROUNDS, **options)
    assert distance(late.params, local.params) > DIFFERENT
    # Nor synchronous SGD with one local step, where local SGD is.
    late, sync = (simulate(problem, s, ROUNDS) for s in (cocod_sgd(lr, 1), minibatch_sgd(lr)))
    assert distance(late.params, sync.params) > DIFFERENT


@law
@given(
    lr=rates,
    period=periods,
    seed=seeds,
    clients=st.integers(2, 5),
    link=st.sampled_from([None, TopK(0.3), QSGD(2), ScaledSign()]),
    runtime=runtimes,
)
def test_row_19_cocods_mean_moves_by_the_mean_progress(lr, period, seed, clients, link, runtime):
    # With gradients that are the same everywhere, progress is known: -lr period g_i in each round.
    vectors = np.random.default_rng(seed).standard_normal((clients, 6))
    problem = constant_gradients(vectors, size=2)
    strategy = cocod_sgd(lr, period) if link is None else cocod_sgd(lr, period, uplink=link)
    result = simulate(problem, strategy, ROUNDS, loss=mean_output, runtime=runtime)
    moved = -lr * period * ROUNDS * vectors.mean(axis=0)
    assert distance(result.params, problem.start + moved) < EXACT
    if link is None:
        # Apart by the progress of the last round, no more.
        own = -lr * period * (vectors - vectors.mean(axis=0))
        assert distance(result.client_params - result.params, own) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, seed=seeds)
def test_without_data_of_their_own_clients_do_not_need_to_wait(problem, lr, period, seed):
    # Identical clients with full batches: the mean of the starts is everybody's start.
    same = replace(
        problem,
        features=(problem.features[0],) * 4,
        targets=(problem.targets[0],) * 4,
        gradients=(problem.gradients[0],) * 4,
    )
    late, local = (
        simulate(same, s, ROUNDS) for s in (cocod_sgd(lr, period), local_sgd(lr, period))
    )
    assert distance(late.params, local.params) < EXACT


@law
@given(
    seconds=st.floats(1e-3, 10.0),
    latency=st.floats(0.0, 10.0),
    bandwidth=st.floats(10.0, 1e4),
    period=st.sampled_from([1, 5]),
    make=st.sampled_from([overlap_local_sgd, cocod_sgd]),
)
def test_overlapped_rounds_take_the_longer_and_others_the_sum(
    seconds, latency, bandwidth, period, make
):
    problem = least_squares((4, 5, 6))
    clock = Clock("constant", seconds, latency, bandwidth)
    late, local = (
        simulate(problem, s, 2, clock=clock) for s in (make(0.02, period), local_sgd(0.02, period))
    )
    assert late.ledger.uplink_bytes == local.ledger.uplink_bytes
    record = local.ledger.records[1]
    travel = 2 * latency + (record.uplink_bytes[0] + record.downlink_bytes[0]) / bandwidth
    compute = period * seconds
    rounds = [
        run.history[1]["sim_seconds"] - run.history[0]["sim_seconds"] for run in (late, local)
    ]
    assert rounds == pytest.approx([max(travel, compute), travel + compute])


@pytest.mark.parametrize("make", [overlap_local_sgd, cocod_sgd])
def test_a_lossy_downlink_is_refused(make):
    with pytest.raises(ValueError, match="every client receives the anchor exactly"):
        replace(make(0.1, 4), downlink=TopK(0.1))


@pytest.mark.parametrize("make", [overlap_local_sgd, cocod_sgd])
def test_messages_travel_meanwhile_and_are_kept_contractive(make):
    strategy = make(0.1, 4, uplink=QSGD(1))
    assert strategy.timing is Timing.OVERLAPPED
    assert strategy.uplink == Contractive(QSGD(1))
