"""Laws of periods, step sizes and averaged iterates, and what periods do to the clock."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal import Clock
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.inner.base import ConstantRate
from fedlocal.slots.inner.lars import LARS
from fedlocal.slots.inner.lr_schedules import CosineRate, InverseTimeRate, StepRate, WarmupRate
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.period import AdaComm, ConstantPeriod, GapSet, StepPeriod, SwitchPeriod
from fedlocal.slots.strategy import Strategy
from strategies.adacomm import adacomm
from strategies.dynamic_averaging import dynamic_averaging
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.one_shot import one_shot
from strategies.post_local_sgd import post_local_sgd
from strategies.slowmo import slowmo
from strategies.vrl_sgd import vrl_sgd
from tests import gaps
from tests.gaps import DIFFERENT, EXACT
from tests.laws.domain import crowds, law, rates, runtimes, seeds
from tests.problems import distance, least_squares, simulate

ROUNDS = 6
gap = partial(gaps.gap, rounds=ROUNDS)

momenta = st.sampled_from([0.0, 0.9])


# AdaComm.


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=momenta, runtime=runtimes)
def test_adacomm_from_one_step_on_is_synchronous_sgd(problem, lr, seed, beta, runtime):
    adaptive = adacomm(lr, 1, block=1, momentum=beta)
    sync = minibatch_sgd(lr, momentum=beta)
    assert gap(problem, adaptive, sync, seed=seed, runtime=runtime) < EXACT


@law
@given(problem=crowds, lr=rates, seed=seeds, period=st.sampled_from([2, 5]))
def test_adacomm_in_its_first_block_is_local_sgd(problem, lr, seed, period):
    adaptive, local = adacomm(lr, period, block=ROUNDS), local_sgd(lr, period)
    assert gap(problem, adaptive, local, seed=seed) < EXACT
    assert gap(problem, adacomm(lr, period, block=1), local, seed=seed) > DIFFERENT


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=st.floats(0.1, 0.7))
def test_adacomm_is_a_period_of_any_strategy(problem, lr, seed, beta):
    period = AdaComm(5, block=1)
    moving = slowmo(lr, period, slow_momentum=beta)
    still = slowmo(lr, period, slow_momentum=0.0)
    assert gap(problem, still, adacomm(lr, 5, block=1), seed=seed) < EXACT
    assert gap(problem, still, moving, seed=seed) > DIFFERENT
    assert gap(problem, replace(vrl_sgd(lr), period=ConstantPeriod(5)), vrl_sgd(lr, 5)) < EXACT


@law
@given(problem=crowds, lr=rates, seed=seeds)
def test_adacomms_periods_shorten_and_its_drifts_still_cancel(problem, lr, seed):
    strategy = replace(vrl_sgd(lr), period=AdaComm(8, block=1))
    result = simulate(problem, strategy, ROUNDS, batch_size=2, seed=seed)
    taken = [row["period"] for row in result.history]
    assert taken == sorted(taken, reverse=True) and taken[0] == 8 > taken[-1]
    drift = result.client_states.correction.drift
    assert drift.abs().max() > 1e-3 and drift.sum(dim=0).abs().max() < EXACT


# Periods among themselves.


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=momenta, at=st.integers(0, ROUNDS))
def test_schedules_with_the_same_periods_are_the_same(problem, lr, seed, beta, at):
    post = post_local_sgd(lr, 4, at, momentum=beta)
    gaps = [1] * at + [4] * (ROUNDS - at)
    for period in (
        SwitchPeriod(1, 4, at),
        StepPeriod((1, 4), (at,)),
        GapSet((*gaps, 4)),
        GapSet.at_steps(np.cumsum([*gaps, 4]).tolist()),
    ):
        other = local_sgd(lr, period, momentum=beta)
        assert gap(problem, post, other, seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, total=st.integers(2, 12))
def test_the_two_ends_of_stichs_set_of_synchronisations(problem, lr, total):
    # I_T = [T] is mini-batch SGD, I_T = {T} is one-shot averaging.
    every = local_sgd(lr, GapSet.at_steps(range(1, total + 1)))
    ends = [simulate(problem, s, total).params for s in (every, minibatch_sgd(lr))]
    assert distance(*ends) < EXACT
    once = local_sgd(lr, GapSet.at_steps([total]))
    ends = [simulate(problem, s, 1).params for s in (once, one_shot(lr, total))]
    assert distance(*ends) < EXACT


# Averaging when somebody has gone too far.


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=momenta, period=st.sampled_from([1, 4]))
def test_dynamic_averaging_with_threshold_zero_is_local_sgd(problem, lr, seed, beta, period):
    always = dynamic_averaging(lr, period, 0.0, momentum=beta)
    assert gap(problem, always, local_sgd(lr, period, momentum=beta), seed=seed) < EXACT


@law
@given(problem=crowds, lr=rates, beta=momenta, runtime=runtimes)
def test_dynamic_averaging_without_a_bound_is_every_client_by_itself(problem, lr, beta, runtime):
    never = dynamic_averaging(lr, 4, float("inf"), momentum=beta)
    result = simulate(problem, never, ROUNDS, runtime=runtime)
    assert result.client_params.std(dim=0).max() > DIFFERENT
    for i, mine in enumerate(result.client_params):
        one = replace(
            problem, features=(problem.features[i],), targets=(problem.targets[i],),
            gradients=(problem.gradients[i],),
        )  # fmt: skip
        by_itself = simulate(one, local_sgd(lr, 4, momentum=beta), ROUNDS)
        assert distance(mine, by_itself.params) < EXACT


@law
@given(problem=crowds, lr=rates, seed=seeds, thresholds=st.tuples(*[st.floats(0.001, 5.0)] * 2))
def test_until_the_first_alarm_nobody_knows_the_threshold(problem, lr, seed, thresholds):
    low, high = sorted(thresholds)

    def run(threshold):
        return simulate(
            problem, dynamic_averaging(lr, 2, threshold), ROUNDS, batch_size=2, seed=seed
        )

    def calm(result):
        """Rounds before the first that more than words went up in."""
        least = min(int(record.uplink_bytes.min()) for record in never.ledger.records)
        words = [record.uplink_bytes.max() == least for record in result.ledger.records]
        return words.index(False) if False in words else ROUNDS

    never = run(float("inf"))
    assert calm(run(low)) <= calm(run(high)) <= calm(never) == ROUNDS
    assert run(high).ledger.uplink_bytes >= never.ledger.uplink_bytes


# Step sizes.


@law
@given(problem=crowds, lr=rates, seed=seeds, period=st.sampled_from([1, 4]))
def test_limits_of_the_schedules_are_a_constant_rate(problem, lr, seed, period):
    constant = local_sgd(lr, period)
    for rate in (
        ConstantRate(lr),
        CosineRate(lr, ROUNDS, last=lr),
        WarmupRate(ConstantRate(lr), 1),
        WarmupRate(ConstantRate(lr), 7, first=1.0),
        StepRate(lr, {ROUNDS: 0.1}),
    ):
        assert gap(problem, constant, local_sgd(rate, period), seed=seed) < EXACT
    slowly = local_sgd(InverseTimeRate(lr, 1e12), period)
    assert gap(problem, constant, slowly, seed=seed) < 1e-9
    for rate in (CosineRate(lr, ROUNDS), WarmupRate(ConstantRate(lr), 5), InverseTimeRate(lr, 5)):
        assert gap(problem, constant, local_sgd(rate, period), seed=seed) > 1e-6


@law
@given(problem=crowds, seed=seeds, lr=rates)
def test_one_step_a_round_has_one_rate_a_round(problem, seed, lr):
    for make in (
        lambda flag: CosineRate(lr, ROUNDS, by_round=flag),
        lambda flag: InverseTimeRate(lr, 4.0, by_round=flag),
        lambda flag: WarmupRate(ConstantRate(lr), 4, by_round=flag),
    ):
        one, other = local_sgd(make(True), 1), local_sgd(make(False), 1)
        assert gap(problem, one, other, seed=seed) < EXACT
        one, other = local_sgd(make(True), 4), local_sgd(make(False), 4)
        assert gap(problem, one, other, seed=seed) > 1e-6


# LARS.


@law
@given(problem=crowds, lr=rates, seed=seeds, beta=momenta, nesterov=st.just(False))
def test_lars_far_from_its_gradients_is_momentum_sgd_with_another_rate(
    problem, lr, seed, beta, nesterov
):
    # With eps much larger than any norm the ratio is trust |w| / eps, and |w| hardly changes.
    size = float(np.linalg.norm(problem.start))
    lars = LARS(1.0, "keep", trust=1e9 * lr / size, momentum=beta, eps=1e9)
    ends = [
        simulate(problem, Strategy(inner, ConstantPeriod(1)), 1, batch_size=2, seed=seed).params
        for inner in (lars, Momentum(lr, momentum=beta, nesterov=nesterov))
    ]
    assert distance(*ends) < 1e-7


# Averaged iterates.


@law
@given(problem=crowds, lr=rates, seed=seeds, shift=st.floats(1, 50), runtime=runtimes)
def test_a_shift_that_dwarfs_the_run_gives_the_plain_average(problem, lr, seed, shift, runtime):
    def run(strategy, rounds=ROUNDS):
        return simulate(problem, strategy, rounds, batch_size=2, seed=seed, runtime=runtime)

    plain = run(local_sgd(lr, 1, average_shift=1e9)).params
    starts = [problem.start, *(run(local_sgd(lr, 1), t).params.numpy() for t in range(1, ROUNDS))]
    assert distance(plain, np.mean(starts, axis=0)) < 1e-6
    weights = (shift + np.arange(ROUNDS)) ** 2
    weighted = run(local_sgd(lr, 1, average_shift=shift)).params
    assert distance(weighted, weights @ np.array(starts) / weights.sum()) < EXACT


# The clock: section E's runtime of one local step, compute Y and communication D.

FREE = {"bandwidth_bytes": float("inf")}


def seconds_per_step(clients, period, clock, rounds=1, seed=0):
    """Simulated seconds of a local step, in the mean over rounds."""
    problem = least_squares((2,) * clients, dim=1)
    run = simulate(
        problem, local_sgd(0.001, period), rounds, clock=clock, seed=seed,
        evaluate=Evaluate(every=rounds),
    )  # fmt: skip
    return run.history[-1]["sim_seconds"] / (rounds * period)


@law
@given(
    compute=st.floats(0.01, 2.0),
    communication=st.floats(0.01, 20.0),
    period=st.sampled_from([1, 2, 10]),
)
def test_constant_steps_speed_up_by_the_formula(compute, communication, period):
    clock = Clock("constant", compute, communication / 2, **FREE)
    sync, local = (seconds_per_step(3, h, clock) for h in (1, period))
    alpha = communication / compute
    assert sync / local == pytest.approx((1 + alpha) / (1 + alpha / period))


@pytest.mark.parametrize("clients", [4, 8])
def test_exponential_steps_average_out_within_a_round(clients):
    # Synchronous: E max of m exponentials is H_m; over tau steps the slowest mean is nearer to 1.
    clock = Clock("exponential", 1.0, 0.5, **FREE)
    rounds, tau = 300, 10
    harmonic = (1 / np.arange(1, clients + 1)).sum()
    spread = np.sqrt((1 / np.arange(1, clients + 1) ** 2).sum() / rounds)
    sync = seconds_per_step(clients, 1, clock, rounds)
    assert abs(sync - (harmonic + 1.0)) < 5 * spread
    draws = np.random.default_rng(0).gamma(tau, size=(100_000, clients)).max(axis=1) / tau
    local = seconds_per_step(clients, tau, clock, rounds)
    assert abs(local - (draws.mean() + 1.0 / tau)) < 5 * draws.std() / np.sqrt(rounds)
    assert local < sync - 1
