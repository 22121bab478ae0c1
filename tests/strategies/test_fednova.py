import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedlocal.slots import Rate
from fedlocal.slots.inner.lr_schedules import StepRate
from fedlocal.slots.inner.sgd import Momentum
from strategies.fednova import NormalisedMean, fednova
from strategies.slowmo import SlowMomentum
from tests.choices import every_pair
from tests.oracles import fednova as oracle
from tests.problems import RUNTIMES, distance, repeated_rows, simulate

# Every mini-batch is the whole client, so that clients may differ in their numbers of steps.
PROBLEM = repeated_rows()
ROUNDS = 5
TAU = [math.ceil(2 * n / 4) for n in PROBLEM.sizes]


@every_pair
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("weights", ["examples", "uniform"])
@pytest.mark.parametrize(
    ("momentum", "mu", "server_momentum"),
    [(0.0, 0.0, 0.0), (0.9, 0.0, 0.0), (0.0, 2.0, 0.0), (0.6, 1.0, 0.0), (0.5, 0.3, 0.7)],
)
def test_follows_the_paper(runtime, weights, momentum, mu, server_momentum):
    strategy = fednova(
        0.05,
        epochs=2,
        momentum=momentum,
        mu=mu,
        server_momentum=server_momentum,
        weights=weights,
    )
    result = simulate(PROBLEM, strategy, ROUNDS, batch_size=4, runtime=runtime)
    assert len(set(TAU)) > 2
    p = PROBLEM.by_examples if weights == "examples" else PROBLEM.uniform
    x = oracle.fednova(
        PROBLEM.gradients, PROBLEM.start, 0.05, TAU, p, ROUNDS, momentum, mu, server_momentum
    )
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_nesterov_momentum_has_a_length_of_its_own(mu):
    strategy = fednova(0.05, epochs=2, momentum=0.6, mu=mu, nesterov=True)
    result = simulate(PROBLEM, strategy, ROUNDS, batch_size=4)
    x = oracle.fednova(
        PROBLEM.gradients, PROBLEM.start, 0.05, TAU, PROBLEM.by_examples, ROUNDS, 0.6, mu, 0.0, True
    )
    assert distance(result.params, x) < 1e-12


@pytest.mark.parametrize("buffers", ["keep", "average"])
def test_buffers_of_before_are_refused(buffers):
    with pytest.raises(ValueError, match=r"NormalisedMean.*needs: clients' buffers .* zero"):
        replace(fednova(0.05, momentum=0.5), inner=Momentum(0.05, buffers))


def reach(tau, momentum=0.0, pull=0.0):
    steps = torch.as_tensor(tau, dtype=torch.float64)
    return NormalisedMean(momentum=momentum).reach(steps, torch.full_like(steps, pull))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_reach_with_momentum_is_the_papers_closed_form(momentum):
    tau = np.arange(1, 30)
    published = (tau - momentum * (1 - momentum**tau) / (1 - momentum)) / (1 - momentum)
    assert distance(reach(tau, momentum), published) < 1e-11


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0])
def test_reach_with_the_proximal_term_is_the_papers_closed_form(alpha):
    tau = np.arange(1, 30)
    assert distance(reach(tau, pull=alpha), (1 - (1 - alpha) ** tau) / alpha) < 1e-11


def test_reach_has_the_steps_themselves_as_its_limit():
    tau = [1.0, 7.0, 40.0]
    assert distance(reach(tau), tau) == 0
    assert distance(reach(tau, pull=1e-12), tau) < 1e-8
    assert distance(reach(tau, momentum=1e-12), tau) < 1e-8


def test_the_rate_may_change_between_rounds():
    drop = fednova(StepRate(0.05, {2: 0.1}), epochs=2, momentum=0.5, mu=1.0, server_momentum=0.3)
    result = simulate(PROBLEM, drop, 2, batch_size=4)
    p = PROBLEM.by_examples
    x = oracle.fednova(PROBLEM.gradients, PROBLEM.start, 0.05, TAU, p, 2, 0.5, 1.0, 0.3)
    assert distance(result.params, x) < 1e-12
    drop = replace(drop, outer=SlowMomentum(1.0, 0.0))
    x = oracle.fednova(PROBLEM.gradients, PROBLEM.start, 0.05, TAU, p, 2, 0.5, 1.0)
    x = oracle.fednova(PROBLEM.gradients, x, 0.005, TAU, p, 1, 0.5, 1.0)
    assert distance(simulate(PROBLEM, drop, 3, batch_size=4).params, x) < 1e-12


@dataclass(frozen=True)
class Falling(Rate):
    lr: float

    def at(self, round_index, first_step, steps):
        return self.lr / (1 + first_step + np.arange(steps))


def test_a_rate_that_falls_within_a_round_normalises_by_its_sums():
    result = simulate(PROBLEM, fednova(Falling(0.05), epochs=2), 1, batch_size=4)
    rates = 0.05 / np.arange(1, max(TAU) + 1)
    per_length = []
    for gradient, tau in zip(PROBLEM.gradients, TAU, strict=True):
        y = PROBLEM.start
        for rate in rates[:tau]:
            y = y - rate * gradient(y)
        per_length.append((y - PROBLEM.start) / rates[:tau].sum())
    p = PROBLEM.by_examples
    common = sum(w * rates[:tau].sum() for w, tau in zip(p, TAU, strict=True))
    assert distance(result.params, PROBLEM.start + common * p @ np.array(per_length)) < 1e-12


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_rate_that_falls_within_a_round_with_momentum(nesterov):
    strategy = fednova(Falling(0.05), epochs=2, momentum=0.8, nesterov=nesterov)
    result = simulate(PROBLEM, strategy, 1, batch_size=4)
    changes, lengths = [], []
    for gradient, tau in zip(PROBLEM.gradients, TAU, strict=True):
        # The same steps, along the gradient and along a constant direction of 1.
        y, v, reached, unit = PROBLEM.start, 0.0, 0.0, 0.0
        for rate in 0.05 / np.arange(1, tau + 1):
            g = gradient(y)
            v, unit = 0.8 * v + g, 0.8 * unit + 1
            y = y - rate * (g + 0.8 * v if nesterov else v)
            reached = reached + rate * (1 + 0.8 * unit if nesterov else unit)
        changes.append(y - PROBLEM.start)
        lengths.append(reached)
    p, lengths = PROBLEM.by_examples, np.array(lengths)
    move = (p @ lengths) * (p / lengths @ np.array(changes))
    assert distance(result.params, PROBLEM.start + move) < 1e-12


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="weights must be uniform or examples"):
        fednova(0.1, 5, weights="size")  # type: ignore[arg-type]
