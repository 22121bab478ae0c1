"""Learning-rate schedules against their formulas, step by step."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.slots.inner.base import ConstantRate
from fedlocal.slots.inner.lr_schedules import (
    CosineRate,
    ExponentialRate,
    InverseTimeRate,
    StepRate,
    WarmupRate,
    step_rate,
    stich_rate,
)
from strategies.local_sgd import local_sgd
from tests.problems import distance, least_squares, simulate

BY_ROUND = [
    lambda flag: CosineRate(0.1, 8, 0.01, by_round=flag),
    lambda flag: InverseTimeRate(0.1, 5.0, by_round=flag),
    lambda flag: WarmupRate(ConstantRate(0.1), 30, by_round=flag),
]


def path(rate, rounds, period):
    return np.concatenate([rate.at(t, t * period, period) for t in range(rounds)])


@given(rounds=st.integers(1, 12), period=st.integers(1, 9), last=st.floats(0.0, 0.1))
def test_cosine_goes_from_lr_to_the_last_one(rounds, period, last):
    found = path(CosineRate(0.1, rounds, last), rounds, period)
    total = rounds * period
    expected = [
        last + (0.1 - last) * 0.5 * (1 + math.cos(math.pi * t / total)) for t in range(total)
    ]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == pytest.approx(0.1) and (found > 0).all()


@given(rounds=st.integers(1, 6), period=st.integers(1, 9), beyond=st.integers(0, 5))
def test_cosine_stays_at_its_last_step_when_the_run_goes_on(rounds, period, beyond):
    for rate in (CosineRate(0.1, rounds), CosineRate(0.1, rounds, by_round=True)):
        final = path(rate, rounds, period)[-1]
        assert rate.at(rounds + beyond, 0, period) == pytest.approx([final] * period)


def test_cosine_ends_with_the_run_whatever_the_periods():
    rate, periods = CosineRate(0.1, 3), [1, 4, 2]
    found = [rate.at(t, sum(periods[:t]), period).tolist() for t, period in enumerate(periods)]
    shares = [[0], [1, 1.25, 1.5, 1.75], [2, 2.5]]
    for rates, passed in zip(found, shares, strict=True):
        assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * p / 3)) for p in passed])


@given(shift=st.floats(0.5, 1e4), first_step=st.integers(0, 10_000), steps=st.integers(1, 9))
def test_inverse_time_is_a_over_b_plus_t(shift, first_step, steps):
    found = InverseTimeRate(0.1, shift).at(3, first_step, steps)
    expected = [0.1 * shift / (shift + first_step + h) for h in range(steps)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert InverseTimeRate(0.1, shift).at(0, 0, 1)[0] == pytest.approx(0.1)


@given(mu=st.floats(1e-4, 10), shift=st.floats(1, 1e4), t=st.integers(0, 10_000))
def test_stich_is_four_over_mu_times_a_plus_t(mu, shift, t):
    assert stich_rate(mu, shift).at(0, t, 1)[0] == pytest.approx(4 / (mu * (shift + t)), rel=1e-12)


def test_warm_up_is_a_straight_line_to_the_schedule_inside():
    assert path(WarmupRate(ConstantRate(0.1), 4), 3, 2) == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]
    )
    assert path(WarmupRate(ConstantRate(0.1), 4, first=0.6), 3, 2) == pytest.approx(
        [0.07, 0.08, 0.09, 0.1, 0.1, 0.1]
    )
    inside = StepRate(0.1, {1: 0.5})
    assert path(WarmupRate(inside, 4), 3, 2) == pytest.approx(
        [0.025, 0.05, 0.0375, 0.05, 0.05, 0.05]
    )
    assert path(WarmupRate(inside, 1), 3, 2).tolist() == path(inside, 3, 2).tolist()


def test_exponential_multiplies_after_every_round():
    found = path(ExponentialRate(0.1, 0.9), 3, 2)
    assert found == pytest.approx([0.1, 0.1, 0.09, 0.09, 0.081, 0.081])
    assert path(ExponentialRate(0.1, 1.0), 3, 2).tolist() == [0.1] * 6


def test_milestones_are_drops():
    assert step_rate(0.1, [2, 4], 0.5) == StepRate(0.1, {2: 0.5, 4: 0.5})
    assert path(step_rate(0.1, [2, 4], 0.5), 5, 1) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    assert step_rate(0.1, []) == StepRate(0.1)


@given(make=st.sampled_from(BY_ROUND), t=st.integers(0, 7), steps=st.integers(1, 9))
def test_by_round_keeps_the_first_step_size_of_a_round(make, t, steps):
    by_step, by_round = make(False).at(t, 3 * t, steps), make(True).at(t, 3 * t, steps)
    assert by_round.tolist() == [by_step[0]] * steps
    assert by_step.shape == by_round.shape == (steps,)


@pytest.mark.parametrize("make", BY_ROUND)
def test_by_step_changes_within_a_round(make):
    assert len(set(make(False).at(2, 6, 5).tolist())) == 5


@pytest.mark.parametrize(
    "rate",
    [
        ConstantRate(0.1),
        ExponentialRate(0.1),
        CosineRate(0.1, 5),
        InverseTimeRate(0.1, 9.0),
        WarmupRate(CosineRate(0.1, 5), 3),
    ],
    ids=repr,
)
def test_a_rate_is_a_value(rate):
    again = pickle.loads(pickle.dumps(rate))
    assert again == rate and hash(again) == hash(rate)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: CosineRate(0.0, 5), "lr must be positive, got 0.0"),
        (lambda: CosineRate(0.1, 0), "rounds of the cosine must be >= 1, got 0"),
        (lambda: CosineRate(0.1, 5, last=0.2), "last must be between 0 and lr = 0.1, got 0.2"),
        (lambda: ExponentialRate(0.1, 0.0), r"factor must be in \(0, 1\], got 0.0"),
        (lambda: ExponentialRate(0.1, 1.1), r"factor must be in \(0, 1\], got 1.1"),
        (lambda: InverseTimeRate(0.1, 0.0), "shift must be positive, got 0.0"),
        (lambda: stich_rate(0.0, 5.0), "strong_convexity must be positive, got 0.0"),
        (lambda: WarmupRate(ConstantRate(0.1), 0), "steps of the warm-up must be >= 1, got 0"),
        (lambda: WarmupRate(ConstantRate(0.1), 3, 1.5), r"first must be a factor in \[0, 1\]"),
    ],
)
def test_wrong_rates_are_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize("runtime", ["loop", "vmapped"])
def test_every_local_step_is_taken_with_its_own_size(runtime):
    problem, rate = least_squares(), WarmupRate(CosineRate(0.1, 6), 5)
    result = simulate(problem, local_sgd(rate, 3), 6, runtime=runtime)
    rates, x = path(rate, 6, 3), problem.start
    for t in range(6):
        ends = []
        for gradient in problem.gradients:
            y = x.copy()
            for lr in rates[3 * t : 3 * t + 3]:
                y = y - lr * gradient(y)
            ends.append(y)
        x = np.mean(ends, axis=0)
    assert distance(result.params, x) < 1e-12
    assert [row["lr"] for row in result.history] == pytest.approx(rates.reshape(6, 3).mean(1))
