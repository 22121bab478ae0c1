from dataclasses import replace

import pytest

from fedlocal.slots.inner.lars import LARS
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.inner.sgd import AdamW, Momentum
from strategies.vrl_sgd import vrl_sgd
from tests.choices import every_pair
from tests.oracles import vrl_sgd as oracle
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
ROUNDS = 6


def check(runtime, strategy, rates, periods, reach=None, **options):
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    x, drifts = oracle.vrl_sgd(PROBLEM.gradients, PROBLEM.start, rates, periods, **options)
    assert distance(result.params, x) < 1e-12
    # A client learns the new mean when its next round begins: what it holds is the drift of the
    # last round, and what it needs to update it.
    drift, local, step_sum = result.client_states.correction
    assert distance(drift, drifts[-2]) < 1e-12
    assert distance(drift + (result.params - local) / step_sum[:, None], drifts[-1]) < 1e-12
    assert distance(step_sum, [reach or rates[-1] * periods[-1]] * 5) < 1e-15
    p = options.get("p", PROBLEM.uniform)
    assert distance(p @ drift.numpy(), [0.0] * 7) < 1e-12
    assert drift.abs().max() > 1e-2


@pytest.mark.parametrize("period", [1, 4, 11])
def test_follows_the_paper(period):
    check("vmapped", vrl_sgd(0.05, period), [0.05] * ROUNDS, [period] * ROUNDS)


def test_warm_up_is_a_first_round_of_one_step():
    check("vmapped", vrl_sgd(0.05, 4, warmup=True), [0.05] * ROUNDS, [1] + [4] * (ROUNDS - 1))


@pytest.mark.parametrize("warmup", [False, True])
def test_the_drift_uses_the_rate_of_its_own_round(warmup):
    rates = [0.05] * 3 + [0.005] * 3
    periods = [1 if warmup else 4] + [4] * (ROUNDS - 1)
    check("vmapped", vrl_sgd(StepRate(0.05, {3: 0.1}), 4, warmup=warmup), rates, periods)


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("period", [1, 4])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("buffers", ["reset", "average"])
def test_momentum_divides_by_the_effective_step(runtime, period, nesterov, buffers):
    strategy = vrl_sgd(
        0.02, period, momentum=0.7, nesterov=nesterov, weight_decay=0.1, buffers=buffers
    )
    reach = oracle.response(0.02, period, 0.7, nesterov).sum()
    options = {"beta": 0.7, "nesterov": nesterov, "decay": 0.1, "at_sync": buffers}
    check(runtime, strategy, [0.02] * ROUNDS, [period] * ROUNDS, reach, **options)


def test_clients_may_count_by_their_examples():
    strategy = vrl_sgd(0.05, 4, momentum=0.3, weights="examples")
    reach = oracle.response(0.05, 4, 0.3, False).sum()
    options = {"beta": 0.3, "p": PROBLEM.by_examples}
    check("vmapped", strategy, [0.05] * ROUNDS, [4] * ROUNDS, reach, **options)


@pytest.mark.parametrize(
    ("inner", "needs"),
    [
        (AdamW(0.01, "reset"), "each local step is a known multiple of its direction"),
        (LARS(0.01, "reset"), "each local step is a known multiple of its direction"),
        (Momentum(0.01, "keep"), "buffers are equal when a round begins"),
    ],
    ids=["AdamW", "LARS", "keep"],
)
def test_steps_of_unknown_length_are_refused_by_name(inner, needs):
    with pytest.raises(ValueError, match=needs) as refusal:
        replace(vrl_sgd(0.01, 5), inner=inner)
    assert f"inner={inner!r}" in str(refusal.value)
