"""Equalities, and some inequalities, that define the family: one strategy's limit is another.

Two runs with the same seed see the same mini-batches, so most laws hold step by step on
stochastic gradients too, to rounding in float64. Numbers in names are rows of the equivalence
matrix in the reference notes. Laws that need an outside witness use tests/oracles.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.slots.compress import (
    QSGD,
    ErrorFeedback,
    Identity,
    Natural,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
)
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.inner.sgd import SGD, Momentum
from strategies.bmuf import bmuf
from strategies.diloco import diloco
from strategies.double_compression import double_compression
from strategies.fedavg import fedavg
from strategies.fedopt import fedopt
from strategies.fedprox import fedprox
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.one_shot import one_shot
from strategies.post_local_sgd import post_local_sgd
from strategies.qsparse_local_sgd import qsparse_local_sgd
from strategies.slowmo import slowmo
from strategies.vrl_sgd import vrl_sgd
from tests.gaps import DIFFERENT, EXACT, gap
from tests.laws.domain import (
    ROUNDS,
    crowds,
    law,
    long_periods,
    momenta,
    periods,
    problems,
    rates,
    runtimes,
    seeds,
)
from tests.oracles.lookahead import lookahead
from tests.oracles.scaffold import scaffold
from tests.problems import (
    RUNTIMES,
    constant_gradients,
    distance,
    identical_clients,
    least_squares,
    leaves,
    mean_output,
    points,
    simulate,
)

# Few values of each: sizes are what compiles, and numbers are what varies.
equal_sizes = st.builds(
    lambda num_clients, seed: least_squares((6,) * num_clients, dim=4, seed=seed),
    st.integers(2, 5),
    seeds,
)


# Rows 1 to 4: one local step.


@law
@given(problem=problems, lr=rates, seed=seeds, runtime=runtimes)
def test_row_1_one_step_is_synchronous_sgd(problem, lr, seed, runtime):
    one, sync = local_sgd(lr, 1), minibatch_sgd(lr)
    assert gap(problem, one, sync, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=problems, lr=rates, beta=momenta, nesterov=st.booleans(), seed=seeds)
def test_row_2_kept_buffers_of_one_step_are_synchronous_momentum(problem, lr, beta, nesterov, seed):
    one = local_sgd(lr, 1, momentum=beta, nesterov=nesterov)
    sync = minibatch_sgd(lr, momentum=beta, nesterov=nesterov)
    assert gap(problem, one, sync, seed=seed) < EXACT
    averaged = local_sgd(lr, 1, momentum=beta, nesterov=nesterov, buffers="average")
    assert gap(problem, averaged, sync, seed=seed) < EXACT


@law
@given(problem=problems, lr=rates, beta=momenta, seed=seeds)
def test_row_3_reset_buffers_of_one_step_lose_the_momentum(problem, lr, beta, seed):
    one = local_sgd(lr, 1, momentum=beta, buffers="reset")
    assert gap(problem, one, minibatch_sgd(lr), seed=seed) < EXACT


@law
@given(problem=problems, lr=rates, seed=seeds, warmup=st.booleans())
def test_row_4_vrl_sgd_with_one_step_is_synchronous_sgd(problem, lr, seed, warmup):
    assert gap(problem, vrl_sgd(lr, 1, warmup=warmup), minibatch_sgd(lr), seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, period=periods, warmup=st.booleans(), seed=seeds, runtime=runtimes)
def test_row_4_drifts_sum_to_zero_on_mini_batches(problem, lr, period, warmup, seed, runtime):
    strategy = vrl_sgd(lr, period, warmup=warmup)
    result = simulate(problem, strategy, ROUNDS, batch_size=2, seed=seed, runtime=runtime)
    drift = result.client_states.correction.drift
    assert drift.abs().max() > 1e-3
    assert drift.sum(dim=0).abs().max() < EXACT


@law
@given(problem=crowds, lr=rates, period=long_periods, seed=seeds)
def test_row_4_drifts_sum_to_zero_behind_a_lossy_uplink(problem, lr, period, seed):
    strategy = replace(vrl_sgd(lr, period), uplink=ErrorFeedback(TopK(0.3)))
    result = simulate(problem, strategy, ROUNDS, batch_size=2, seed=seed)
    drift = result.client_states.correction.drift
    assert drift.abs().max() > 1e-3
    assert drift.sum(dim=0).abs().max() < EXACT


# Rows 5 and 6: VRL-SGD is SCAFFOLD and is not local SGD.


@law
@given(problem=crowds, lr=rates, period=periods, runtime=runtimes)
def test_row_5_vrl_sgd_is_scaffold_with_everyone_present(problem, lr, period, runtime):
    result = simulate(problem, vrl_sgd(lr, period), ROUNDS, runtime=runtime)
    x, _, _ = scaffold(problem.gradients, problem.start, lr, period, ROUNDS)
    assert distance(result.params, x) < EXACT
    # The drift of the last round is what the round before it left.
    _, c, c_i = scaffold(problem.gradients, problem.start, lr, period, ROUNDS - 1)
    assert distance(result.client_states.correction.drift, c_i - c) < EXACT


@law
@given(problem=crowds, lr=st.floats(0.02, 0.05), seed=seeds)
def test_row_6_vrl_sgd_is_not_local_sgd_on_different_clients(problem, lr, seed):
    assert gap(problem, vrl_sgd(lr, 5), local_sgd(lr, 5), seed=seed) > DIFFERENT


@law
@given(lr=rates, period=periods, seed=seeds)
def test_vrl_sgd_is_local_sgd_on_identical_clients(lr, period, seed):
    problem = identical_clients(seed=seed)
    assert gap(problem, vrl_sgd(lr, period), local_sgd(lr, period), batch_size=None) < EXACT
    drift = simulate(problem, vrl_sgd(lr, period), ROUNDS).client_states.correction.drift
    assert drift.abs().max() < EXACT


# Rows 7 to 9, and the outer optimisers among themselves.


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_row_7_outer_steps_without_momentum_are_local_sgd(problem, lr, period, seed, runtime):
    local = local_sgd(lr, period)
    for other in (
        slowmo(lr, period, slow_lr=1.0, slow_momentum=0.0),
        bmuf(lr, period, block_lr=1.0, block_momentum=0.0),
        fedopt(lr, period, optimiser="sgd", server_lr=1.0, beta1=0.0, weights="uniform"),
    ):
        assert gap(problem, local, other, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=problems, lr=rates, beta=momenta, seed=seeds)
def test_row_7_slow_momentum_over_one_step_is_synchronous_heavy_ball(problem, lr, beta, seed):
    slow, sync = slowmo(lr, 1, slow_lr=1.0, slow_momentum=beta), minibatch_sgd(lr, momentum=beta)
    assert gap(problem, slow, sync, seed=seed) < EXACT
    # A reset base buffer after one step is no base buffer.
    slow = slowmo(lr, 1, slow_lr=1.0, slow_momentum=beta, momentum=0.9)
    assert gap(problem, slow, sync, seed=seed) < EXACT


@law
@given(problem=problems, lr=rates, beta=momenta, seed=seeds)
def test_nesterov_block_momentum_over_one_step_is_synchronous_nesterov(problem, lr, beta, seed):
    block = bmuf(lr, 1, block_lr=1.0, block_momentum=beta, nesterov=True)
    sync = minibatch_sgd(lr, momentum=beta, nesterov=True)
    assert gap(problem, block, sync, seed=seed) < EXACT


@law
@given(
    problem=problems,
    lr=rates,
    period=periods,
    alpha=st.floats(0.3, 1.0),
    beta=momenta,
    seed=seeds,
    runtime=runtimes,
)
def test_row_8_slowmo_is_bmuf_is_server_momentum(problem, lr, period, alpha, beta, seed, runtime):
    slow = slowmo(lr, period, slow_lr=alpha, slow_momentum=beta)
    block = bmuf(lr, period, block_lr=alpha, block_momentum=beta)
    server = fedopt(lr, period, optimiser="sgd", server_lr=alpha, beta1=beta, weights="uniform")
    assert gap(problem, slow, block, seed=seed, runtime=runtime) < EXACT
    assert gap(problem, slow, server, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=problems, period=periods, beta=st.floats(0.5, 0.9), seed=seeds)
def test_row_8_slowmo_is_not_bmuf_once_the_rate_has_dropped(problem, period, beta, seed):
    drop = StepRate(0.05, {3: 0.1})
    slow = slowmo(drop, period, slow_lr=1.0, slow_momentum=beta)
    block = bmuf(drop, period, block_lr=1.0, block_momentum=beta)
    assert gap(problem, slow, block, seed=seed) > DIFFERENT
    assert gap(problem, slow, block, rounds=3, seed=seed) < EXACT


@law
@given(lr=rates, period=periods, alpha=st.floats(0.2, 1.0), seed=seeds, runtime=runtimes)
def test_row_9_slowmo_of_one_client_is_lookahead(lr, period, alpha, seed, runtime):
    problem = least_squares((8,), seed=seed)
    strategy = slowmo(lr, period, slow_lr=alpha, slow_momentum=0.0)
    result = simulate(problem, strategy, ROUNDS, runtime=runtime)
    x = lookahead(problem.gradients[0], problem.start, lr, period, alpha, ROUNDS)
    assert distance(result.params, x) < EXACT


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds)
def test_diloco_with_a_plain_outer_step_is_local_adamw(problem, lr, period, seed):
    inner_outer = diloco(lr, period, outer_lr=1.0, outer_momentum=0.0)
    local_adamw = replace(local_sgd(lr, period), inner=inner_outer.inner)
    assert gap(problem, inner_outer, local_adamw, seed=seed) < EXACT
    assert gap(problem, inner_outer, local_sgd(lr, period), seed=seed) > DIFFERENT


# Rows 16 and 17: compression.


@law
@given(
    problem=problems,
    lr=rates,
    period=periods,
    beta=st.just(0.0) | momenta,
    seed=seeds,
    runtime=runtimes,
)
def test_row_16_lossless_compression_is_local_sgd(problem, lr, period, beta, seed, runtime):
    local = local_sgd(lr, period, momentum=beta)
    for other in (
        double_compression(lr, period, uplink=Identity(), downlink=Identity(), momentum=beta),
        double_compression(lr, period, uplink=TopK(1.0), downlink=TopK(1.0), momentum=beta),
        double_compression(lr, period, uplink=RandomK(1.0), downlink=Identity(), momentum=beta),
        qsparse_local_sgd(lr, period, uplink=TopK(1.0), momentum=beta),
    ):
        assert gap(problem, local, other, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=crowds, lr=st.floats(0.02, 0.05), period=periods, seed=seeds)
def test_lossy_compression_is_not_local_sgd(problem, lr, period, seed):
    local = local_sgd(lr, period)
    up = qsparse_local_sgd(lr, period, uplink=TopK(0.25))
    both = double_compression(lr, period, uplink=TopK(0.25), downlink=TopK(0.25))
    assert gap(problem, local, up, seed=seed) > DIFFERENT
    assert gap(problem, local, both, seed=seed) > DIFFERENT
    assert gap(problem, up, both, seed=seed) > DIFFERENT


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds)
def test_qsparse_is_double_compression_with_an_exact_downlink(problem, lr, period, seed):
    up = qsparse_local_sgd(lr, period, uplink=TopK(0.4))
    both = double_compression(lr, period, uplink=TopK(0.4), downlink=Identity())
    assert gap(problem, up, both, seed=seed) < EXACT


COMPRESSORS = {
    "top": TopK(0.3),
    "sign": ScaledSign(),
    "random": RandomK(0.4),
    "qsgd": QSGD(4),
    "terngrad": TernGrad(),
    "natural": Natural(),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", COMPRESSORS)
def test_row_17_error_feedback_loses_nothing(name, runtime):
    # x + mean_i e_i + E moves by the mean gradient alone, whatever was sent. Residuals here are
    # "what is still owed to the model", the negative of the papers' before - after.
    problem = least_squares()
    compressor = COMPRESSORS[name]
    strategy = double_compression(0.05, 1, uplink=compressor, downlink=compressor)
    owed = problem.start
    for rounds in range(1, 5):
        before = (
            simulate(problem, strategy, rounds - 1, runtime=runtime).params.numpy()
            if rounds > 1
            else problem.start
        )
        owed = owed - 0.05 * np.mean([gradient(before) for gradient in problem.gradients], axis=0)
        result = simulate(problem, strategy, rounds, runtime=runtime)
        kept = result.client_states.uplink.residual.mean(dim=0)
        held = result.server_state.downlink.residual[0]
        assert kept.abs().max() > 1e-3
        assert distance(result.params + kept + held, owed) < EXACT


@law
@given(
    name=st.sampled_from(sorted(COMPRESSORS)),
    lr=rates,
    period=periods,
    seed=seeds,
    num_clients=st.integers(1, 5),
)
def test_row_17_over_several_local_steps(name, lr, period, seed, num_clients):
    vectors = np.random.default_rng(seed).standard_normal((num_clients, 6))
    problem = constant_gradients(vectors, size=3)
    compressor = COMPRESSORS[name]
    strategy = double_compression(lr, period, uplink=compressor, downlink=compressor)
    result = simulate(problem, strategy, ROUNDS, batch_size=2, loss=mean_output, seed=seed)
    sent = (
        result.params
        + result.client_states.uplink.residual.mean(dim=0)
        + result.server_state.downlink.residual[0]
    )
    expected = problem.start - lr * period * ROUNDS * vectors.mean(axis=0)
    assert distance(sent, expected) < EXACT


# Row 20 and the laws of weights and of unequal numbers of steps.


@law
@given(num_clients=st.integers(2, 4), seed=seeds, weights=st.sampled_from(["examples", "uniform"]))
def test_row_20_unequal_steps_pull_fedavg_off_the_mean(num_clients, seed, weights):
    sizes = tuple(2 * (i + 1) for i in range(num_clients))
    problem = points(sizes, seed=seed)
    strategy = fedavg(1e-3, epochs=1, weights=weights)
    steps = np.arange(1, num_clients + 1)
    p = problem.by_examples if weights == "examples" else problem.uniform
    centres = np.stack([targets[0] for targets in problem.targets])
    # The fixed point of x = sum_i p_i (e_i + (1 - lr)^tau_i (x - e_i)), in closed form.
    pull = p * (1 - (1 - 1e-3) ** steps)
    fixed = pull @ centres / pull.sum()
    start = replace(problem, start=fixed)
    assert distance(simulate(start, strategy, 3, batch_size=2).params, fixed) < EXACT
    assert distance(fixed, p * steps @ centres / (p @ steps)) < 1e-2
    assert distance(fixed, p @ centres) > DIFFERENT


def test_row_20_fedavg_converges_to_the_step_weighted_mean():
    problem = points((2, 4, 8), seed=1)
    result = simulate(problem, fedavg(0.02, epochs=1, weights="uniform"), 300, batch_size=2)
    centres, steps = np.stack([targets[0] for targets in problem.targets]), np.array([1, 2, 4])
    assert distance(result.params, steps @ centres / steps.sum()) < 0.05
    assert distance(result.params, centres.mean(axis=0)) > 0.1
    pull = 1 - 0.98**steps
    assert distance(result.params, pull @ centres / pull.sum()) < 1e-5


@law
@given(problem=equal_sizes, lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_weights_by_examples_are_uniform_for_equal_sizes(problem, lr, period, seed, runtime):
    options = {"seed": seed, "runtime": runtime}
    examples = local_sgd(lr, period, weights="examples")
    assert gap(problem, examples, local_sgd(lr, period, weights="uniform"), **options) < EXACT
    assert gap(problem, fedavg(lr, period), local_sgd(lr, period), **options) < EXACT
    # 6 examples, batches of 2: an epoch is three steps.
    assert gap(problem, fedavg(lr, epochs=1), fedavg(lr, period=3), **options) < EXACT


@law
@given(lr=st.floats(0.02, 0.05), period=periods, seed=seeds)
def test_weights_by_examples_matter_for_unequal_sizes(lr, period, seed):
    problem = least_squares((4, 30), seed=seed)
    assert gap(problem, fedavg(lr, period), local_sgd(lr, period), seed=seed) > DIFFERENT


# By construction.


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds, runtime=runtimes)
def test_fedprox_without_the_term_and_fedopt_with_unit_sgd_are_fedavg(
    problem, lr, period, seed, runtime
):
    options = {"seed": seed, "runtime": runtime}
    base = fedavg(lr, period)
    assert gap(problem, fedprox(lr, period, 0.0), base, **options) < EXACT
    server = fedopt(lr, period, optimiser="sgd", server_lr=1.0, beta1=0.0)
    assert gap(problem, server, base, **options) < EXACT
    assert gap(problem, local_sgd(lr, period, weights="examples"), base, **options) < EXACT


@law
@given(problem=problems, lr=rates, seed=seeds)
def test_the_proximal_term_is_silent_in_the_first_step_only(problem, lr, seed):
    assert gap(problem, fedprox(lr, 1, 5.0), fedavg(lr, 1), seed=seed) < EXACT
    assert gap(problem, fedprox(lr, 5, 5.0), fedavg(lr, 5), seed=seed) > 1e-6


@law
@given(problem=problems, lr=rates, period=periods, beta=st.just(0.0) | momenta, seed=seeds)
def test_post_local_sgd_is_one_phase_at_either_end(problem, lr, period, beta, seed):
    local = local_sgd(lr, period, momentum=beta)
    assert gap(problem, post_local_sgd(lr, period, 0, momentum=beta), local, seed=seed) < EXACT
    sync = minibatch_sgd(lr, momentum=beta)
    late = post_local_sgd(lr, period, ROUNDS, momentum=beta)
    assert gap(problem, late, sync, seed=seed) < EXACT


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds)
def test_one_shot_is_one_round_of_local_sgd(problem, lr, period, seed):
    shot = simulate(problem, one_shot(lr, period), ROUNDS, batch_size=2, seed=seed)
    local = simulate(problem, local_sgd(lr, period), 1, batch_size=2, seed=seed)
    assert distance(shot.params, local.params) < EXACT


@law
@given(problem=problems, lr=rates, period=periods, seed=seeds)
def test_momentum_zero_is_no_momentum(problem, lr, period, seed):
    plain = local_sgd(lr, period)
    for buffers in ("keep", "reset", "average"):
        limit = local_sgd(lr, period, momentum=0.0, buffers=buffers)
        assert gap(problem, plain, limit, seed=seed) < EXACT
    assert gap(problem, plain, local_sgd(lr, period, weight_decay=0.0), seed=seed) < EXACT


@law
@given(lr=rates, period=periods, seed=seeds, beta=st.just(0.0) | momenta)
def test_one_client_never_notices_a_synchronisation(lr, period, seed, beta):
    problem = least_squares((8,), seed=seed)
    local = simulate(problem, local_sgd(lr, period, momentum=beta), ROUNDS)
    sync = simulate(problem, minibatch_sgd(lr, momentum=beta), ROUNDS * period)
    assert distance(local.params, sync.params) < EXACT


# Row 22: what an unbiased compressor sends is right on average. Behind error feedback it is scaled
# by 1 / (1 + omega), and the first residual is v - Q(v) / (1 + omega): one draw per client.

DIM, DRAWS = 400, 400
VECTOR = np.random.default_rng(3).standard_normal(DIM)


def first_messages(compressor, num_clients=DRAWS):
    """Q(v) of each client, [num_clients, DIM], for v = VECTOR."""
    problem = constant_gradients(np.tile(-VECTOR, (num_clients, 1)))
    strategy = replace(local_sgd(1.0, 1), uplink=ErrorFeedback(compressor))
    result = simulate(problem, strategy, 1, loss=mean_output)
    sent = VECTOR - result.client_states.uplink.residual.numpy()
    assert distance(result.params, problem.start + sent.mean(axis=0)) < EXACT
    return sent * (1 + compressor.variance(DIM))


def rounding_variance(low, high):
    return (high - np.abs(VECTOR)) * (np.abs(VECTOR) - low)


def qsgd_variance(levels):
    unit = np.linalg.norm(VECTOR) / levels
    low = np.floor(np.abs(VECTOR) / unit) * unit
    return rounding_variance(low, low + unit)


def natural_variance():
    low = 2.0 ** np.floor(np.log2(np.abs(VECTOR)))
    return rounding_variance(low, 2 * low)


@pytest.mark.parametrize(
    ("compressor", "variance", "bound"),
    [
        (QSGD(1), qsgd_variance(1), 20),
        (QSGD(4), qsgd_variance(4), 5),
        (QSGD(20), qsgd_variance(20), 1),
        (TernGrad(), rounding_variance(0.0, np.abs(VECTOR).max()), 9.5),
        (Natural(), natural_variance(), 1 / 8),
        (RandomK(0.25), 3 * VECTOR**2, 3 + 1e-12),
    ],
    ids=["qsgd-1", "qsgd-4", "qsgd-20", "terngrad", "natural", "random-k"],
)
def test_row_22_unbiased_with_the_variance_of_the_paper(compressor, variance, bound):
    errors = first_messages(compressor) - VECTOR
    # Every coordinate's mean error is within six standard errors of zero.
    assert (np.abs(errors.mean(axis=0)) < 6 * np.sqrt(variance / DRAWS) + 1e-9).all()
    total, square = variance.sum(), VECTOR @ VECTOR
    assert (errors**2).sum(axis=1).mean() == pytest.approx(total, rel=0.1)
    assert compressor.variance(DIM) == pytest.approx(bound, rel=1e-9)
    assert total <= bound * square
    # Clients draw independently of each other: the mean of N errors is N times smaller.
    assert (errors.mean(axis=0) ** 2).sum() == pytest.approx(total / DRAWS, rel=0.4)


@pytest.mark.parametrize("levels", [1, 4, 20])
def test_row_22_qsgd_sends_levels_of_the_norm_and_few_of_them(levels):
    level = first_messages(QSGD(levels), 100) * levels / np.linalg.norm(VECTOR)
    assert distance(level, level.round()) < 1e-9
    nonzero = (np.abs(level) > 0.5).sum(axis=1).mean()
    assert 1 < nonzero <= levels * (levels + np.sqrt(DIM))


# Order of clients and absent clients.

EVERYONE = {
    "local_sgd": local_sgd(0.02, 3, momentum=0.9),
    "fedavg": fedavg(0.02, 3),
    "fedprox": fedprox(0.02, 3, 0.5),
    "vrl_sgd": vrl_sgd(0.02, 3, warmup=True),
    "slowmo": slowmo(0.02, 3, momentum=0.9, buffers="keep"),
    "bmuf": bmuf(0.02, 3, nesterov=True),
    "fedopt": fedopt(0.02, 3, optimiser="yogi", server_lr=0.1),
    "diloco": diloco(0.02, 3),
    "double_compression": double_compression(
        0.02, 3, uplink=TopK(0.3), downlink=TopK(0.3), momentum=0.5
    ),
    "qsparse_local_sgd": qsparse_local_sgd(0.02, 3, uplink=ScaledSign()),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", EVERYONE)
def test_permuting_clients_permutes_their_states(name, runtime):
    problem, order = least_squares(), [3, 0, 4, 1, 2]
    shuffled = replace(
        problem,
        features=tuple(problem.features[i] for i in order),
        targets=tuple(problem.targets[i] for i in order),
        gradients=tuple(problem.gradients[i] for i in order),
    )
    one, other = (
        simulate(each, EVERYONE[name], 4, runtime=runtime) for each in (problem, shuffled)
    )
    assert distance(one.params, other.params) < EXACT
    ours, theirs = list(leaves(one.client_states)), list(leaves(other.client_states))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert distance(a[order], b) < EXACT


STATELESS = {
    "minibatch_sgd": minibatch_sgd(0.02),
    "local_sgd": local_sgd(0.02, 3),
    "reset": local_sgd(0.02, 3, momentum=0.9, buffers="reset"),
    "fedavg": fedavg(0.02, 3),
    "fedprox": fedprox(0.02, 3, 0.5),
    "slowmo": slowmo(0.02, 3, momentum=0.9),
    "bmuf": bmuf(0.02, 3, nesterov=True),
    "fedopt": fedopt(0.02, 3, optimiser="adam", server_lr=0.1),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", STATELESS)
def test_any_cohort_of_identical_clients_gives_the_same_model(name, runtime):
    problem, strategy = identical_clients(), STATELESS[name]
    everyone = simulate(problem, strategy, 4, runtime=runtime).params
    for participation, seed in [(0.4, 0), (0.4, 1), (0.2, 2), (0.8, 3)]:
        some = simulate(
            problem, strategy, 4, runtime=runtime, participation=participation, seed=seed
        )
        assert distance(some.params, everyone) < EXACT


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_cohort_of_different_clients_matters_and_depends_on_the_seed(runtime):
    problem, strategy = least_squares(), fedavg(0.05, 4)
    ends = [
        simulate(problem, strategy, 6, runtime=runtime, participation=0.4, seed=seed).params
        for seed in range(4)
    ]
    again = simulate(problem, strategy, 6, runtime=runtime, participation=0.4, seed=0).params
    assert distance(ends[0], again) == 0
    assert max(distance(ends[0], end) for end in ends[1:]) > DIFFERENT
    everyone = simulate(problem, strategy, 6, runtime=runtime).params
    assert all(distance(end, everyone) > DIFFERENT for end in ends)


@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_one_round_is_the_weighted_mean_of_some_cohort(weights):
    # Two of three clients take part: the result is one of three means, renormalised.
    problem = least_squares((4, 30, 9))
    ends = [problem.start - 0.05 * gradient(problem.start) for gradient in problem.gradients]
    strategy = fedavg(0.05, 1, weights=weights)
    n = problem.sizes if weights == "examples" else (1, 1, 1)
    means = [(n[i] * ends[i] + n[j] * ends[j]) / (n[i] + n[j]) for i, j in [(0, 1), (0, 2), (1, 2)]]
    drawn = set()
    for seed in range(12):
        x = simulate(problem, strategy, 1, participation=2 / 3, seed=seed).params
        nearest = int(np.argmin([distance(x, mean) for mean in means]))
        assert distance(x, means[nearest]) < EXACT
        drawn.add(nearest)
    assert drawn == {0, 1, 2}


@given(period=st.integers(1, 5), seed=st.integers(0, 2**32 - 1), nesterov=st.booleans())
@law
def test_momentum_zero_takes_the_steps_of_the_piece_without_a_buffer(period, seed, nesterov):
    # local_sgd picks the lean piece by itself; this holds the general one to the same run.
    lean = local_sgd(0.05, period, weight_decay=0.01)
    full = replace(lean, inner=Momentum(0.05, weight_decay=0.01, momentum=0.0, nesterov=nesterov))
    assert isinstance(lean.inner, SGD) and not isinstance(lean.inner, Momentum)
    a, b = (
        simulate(least_squares(), s, ROUNDS, batch_size=2, seed=seed).params for s in (lean, full)
    )
    assert distance(a, b) == 0
