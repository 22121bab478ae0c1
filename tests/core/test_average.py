"""The weighted average of all local iterates, against a list of all of them."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedlocal.slots.inner.averaged import WeightedIterate
from fedlocal.slots.inner.lr_schedules import stich_rate
from fedlocal.slots.inner.sgd import SGD, Momentum
from fedlocal.slots.period import Epochs
from strategies.local_sgd import local_sgd
from strategies.post_local_sgd import post_local_sgd
from strategies.slowmo import slowmo
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
ROUNDS, H = 5, 3


def iterates(rates, periods, beta=0.0, at_sync="keep"):
    """Every x_t^k before a local step, a list over clients [T, P], and the last synchronised x."""
    x, kept = PROBLEM.start, [[] for _ in range(K)]
    v = np.zeros((K, len(x)))
    steps = iter(rates)
    for period in periods:
        lrs = [next(steps) for _ in range(period)]
        y = np.tile(x, (K, 1))
        for i, gradient in enumerate(PROBLEM.gradients):
            for lr in lrs:
                kept[i].append(y[i].copy())
                v[i] = beta * v[i] + gradient(y[i])
                y[i] = y[i] - lr * v[i]
        x = y.mean(axis=0)
        if at_sync == "reset":
            v[:] = 0
        if at_sync == "average":
            v[:] = v.mean(axis=0)
    return np.array(kept), x


def average(kept, shift):
    weights = (shift + np.arange(kept.shape[1])) ** 2
    return np.einsum("t,ktp->p", weights, kept) / (len(kept) * weights.sum())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_is_the_average_of_stichs_theorem(runtime, shift):
    strategy = local_sgd(0.05, H, average_shift=shift)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    kept, last = iterates([0.05] * H * ROUNDS, [H] * ROUNDS)
    assert distance(result.params, average(kept, shift)) < 1e-12
    # Training is as without: what the clients hold at the end is the last iterate.
    assert distance(result.server_state.anchor[0], last) < 1e-12
    assert distance(result.params, last) > 1e-3
    # Each client's own average, and that of all is what was evaluated.
    for mine, theirs in zip(result.client_params, kept, strict=True):
        assert distance(mine, average(theirs[None], shift)) < 1e-12


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("buffers", ["keep", "reset", "average"])
def test_what_becomes_of_buffers_does_not_touch_the_sums(runtime, buffers):
    strategy = local_sgd(0.02, H, momentum=0.9, buffers=buffers, average_shift=7.0)
    result = simulate(PROBLEM, strategy, ROUNDS, runtime=runtime)
    kept, last = iterates([0.02] * H * ROUNDS, [H] * ROUNDS, 0.9, buffers)
    assert distance(result.params, average(kept, 7.0)) < 1e-12
    assert distance(result.server_state.anchor[0], last) < 1e-12
    plain = simulate(PROBLEM, local_sgd(0.02, H, momentum=0.9, buffers=buffers), ROUNDS)
    assert result.ledger.uplink_bytes == plain.ledger.uplink_bytes


def test_with_the_theorems_step_sizes():
    rate = stich_rate(2.0, 60.0)
    rates = rate.at(0, 0, H * ROUNDS)
    result = simulate(PROBLEM, local_sgd(rate, H, average_shift=60.0), ROUNDS)
    kept, _ = iterates(rates, [H] * ROUNDS)
    assert distance(result.params, average(kept, 60.0)) < 1e-12


def test_after_one_step_it_is_the_start():
    result = simulate(PROBLEM, local_sgd(0.05, 1, average_shift=3.0), 1)
    assert distance(result.params, PROBLEM.start) < 1e-15
    assert distance(result.server_state.anchor[0], PROBLEM.start) > 1e-2


@pytest.mark.parametrize("shift", [0.0, 1.0, 25.0])
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_the_sum_of_weights(shift, steps):
    inner = WeightedIterate(SGD(0.1), shift)
    x = torch.zeros(2, dtype=torch.float64)
    state = inner.init(x)
    for _ in range(steps):
        _, state = inner.step(x, x, state, torch.tensor(0.1).double())
    assert float(state.weight) == pytest.approx(sum((shift + t) ** 2 for t in range(steps)))
    assert float(state.taken) == steps
    # The theorem's S_T >= T^3 / 3 holds for a shift of at least 1.
    assert shift < 1 or float(state.weight) >= steps**3 / 3


def test_it_goes_around_other_strategies():
    strategy = slowmo(0.05, H)
    wrapped = replace(strategy, inner=WeightedIterate(strategy.inner, 1.0))
    plain, averaged = (simulate(PROBLEM, s, ROUNDS) for s in (strategy, wrapped))
    assert distance(plain.params, averaged.server_state.anchor[0]) < 1e-12
    assert distance(plain.params, averaged.params) > 1e-3
    periods = post_local_sgd(0.05, H, 2)
    result = simulate(PROBLEM, replace(periods, inner=WeightedIterate(periods.inner, 4.0)), ROUNDS)
    kept, _ = iterates([0.05] * 11, [1, 1, H, H, H])
    assert distance(result.params, average(kept, 4.0)) < 1e-12


def test_a_mean_over_different_steps_is_refused():
    strategy = local_sgd(0.05, H, average_shift=3.0)
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, strategy, 1, participation=0.5)
    with pytest.raises(ValueError, match="all clients take the same number of local steps"):
        local_sgd(0.05, Epochs(1.0), average_shift=3.0)


def test_a_mean_weighted_by_examples_is_refused():
    with pytest.raises(ValueError, match="average_shift needs equal weights, got weights='ex"):
        local_sgd(0.05, H, weights="examples", average_shift=3.0)


@pytest.mark.parametrize("shift", [-1.0, float("inf"), float("nan")])
def test_weights_must_grow(shift):
    with pytest.raises(ValueError, match=r"average_shift must be (>= 0|finite), got"):
        local_sgd(0.05, H, average_shift=shift)


def test_a_weighted_iterate_is_a_value():
    inner = WeightedIterate(Momentum(0.1, "average", momentum=0.9), 3.0)
    again = pickle.loads(pickle.dumps(inner))
    assert again == inner and hash(again) == hash(inner)
    assert inner.averages and not inner.inner.averages
