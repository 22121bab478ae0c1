"""LARS against numpy, layer by layer; where norms are zero; and under vmap."""

import pickle

import numpy as np
import pytest
import torch

from fedlocal.slots.inner.lars import LARS
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.period import ConstantPeriod
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.flat import ParamSpec
from tests.problems import RUNTIMES, distance, simulate, two_layers

SIZES = (6, 1, 4)
SPEC = ParamSpec(("a", "b", "c"), ((2, 3), (1,), (4,)))


def by_hand(x, grads, rates, trust, momentum, decay, eps, sizes=SIZES):
    """x [P] after the steps, one layer at a time."""
    ends = np.cumsum(sizes)
    parts = []
    for start, end in zip(ends - sizes, ends, strict=True):
        w, v = x[start:end].copy(), np.zeros(end - start)
        for gradient, lr in zip(grads, rates, strict=True):
            g = gradient[start:end]
            size, pull = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            ratio = trust * size / (pull + decay * size + eps) if size > 0 and pull > 0 else 1.0
            v = momentum * v + ratio * (g + decay * w)
            w = w - lr * v
        parts.append(w)
    return np.concatenate(parts)


def run(lars, x, grads, rates):
    bound = lars.bind(SPEC)
    state = bound.init(x)
    for gradient, lr in zip(grads, rates, strict=True):
        x, state = bound.step(x, gradient, state, torch.tensor(lr, dtype=x.dtype))
    return x


def drawn(steps=20, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.repeat([1.0, 100.0, 0.01], SIZES)
    return rng.standard_normal(sum(SIZES)), rng.standard_normal((steps, sum(SIZES))) * scales


@pytest.mark.parametrize("trust", [0.001, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("eps", [0.0, 1e-3])
def test_is_the_rule_of_every_layer(trust, momentum, decay, eps):
    x, grads = drawn()
    rates = [0.5 / (1 + t // 7) for t in range(len(grads))]
    lars = LARS(0.5, "keep", trust, momentum, decay, eps)
    found = run(lars, torch.from_numpy(x), torch.from_numpy(grads), rates)
    assert distance(found, by_hand(x, grads, rates, trust, momentum, decay, eps)) < 1e-12


def test_the_scale_of_a_layers_gradient_does_not_matter():
    x, grads = drawn()
    scaled = grads * np.repeat([3.0, 1e-3, 50.0], SIZES)
    ends = [
        run(LARS(0.5, eps=0.0, trust=0.1), torch.from_numpy(x), torch.from_numpy(g), [0.5] * 20)
        for g in (grads, scaled)
    ]
    assert distance(*ends) < 1e-12


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("zero", ["weights", "gradient", "both"])
def test_zero_norms_leave_the_gradient_as_it_is(zero, decay, eps):
    x, grads = drawn(1)
    x[:6] *= zero == "gradient"
    grads[:, :6] *= zero == "weights"
    found = run(LARS(0.5, "keep", 0.01, 0.9, decay, eps), *map(torch.from_numpy, (x, grads)), [0.5])
    assert distance(found, by_hand(x, grads, [0.5], 0.01, 0.9, decay, eps)) < 1e-12
    assert distance(found[:6], x[:6] - 0.5 * (grads[0, :6] + decay * x[:6])) < 1e-12


def test_many_clients_step_as_one_does():
    lars = LARS(0.1, weight_decay=0.01).bind(SPEC)
    x, grads = (torch.from_numpy(drawn(5, seed)[1]) for seed in (1, 2))
    x[2, :6] = 0.0
    states, lr = torch.vmap(lars.init)(x), torch.tensor(0.1, dtype=torch.float64)
    many, _ = torch.vmap(lars.step, in_dims=(0, 0, 0, None))(x, grads, states, lr)
    alone = [lars.step(x[i], grads[i], lars.init(x[i]), lr)[0] for i in range(5)]
    assert distance(many, torch.stack(alone)) < 1e-15


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_binds_it_to_the_models_layers(runtime):
    problem = two_layers()
    inner = LARS(0.5, "keep", 0.05, 0.5, 0.01)
    result = simulate(problem, Strategy(inner, ConstantPeriod(3)), 4, runtime=runtime)
    x, K = problem.start, len(problem.sizes)
    v = np.zeros((K, 24))
    for _ in range(4):
        ends = np.tile(x, (K, 1))
        for i, gradient in enumerate(problem.gradients):
            for _ in range(3):
                g = gradient(ends[i])
                for layer in (slice(0, 21), slice(21, 24)):
                    size, pull = (np.linalg.norm(t[layer]) for t in (ends[i], g))
                    ratio = 0.05 * size / (pull + 0.01 * size + 1e-8)
                    v[i, layer] = 0.5 * v[i, layer] + ratio * (g + 0.01 * ends[i])[layer]
                ends[i] = ends[i] - 0.5 * v[i]
        x = ends.mean(axis=0)
    assert distance(result.params, x) < 1e-12
    plain = Strategy(Momentum(0.5, momentum=0.5, weight_decay=0.01), ConstantPeriod(3))
    assert (
        distance(
            simulate(problem, plain, 1).params,
            simulate(problem, Strategy(inner, ConstantPeriod(3)), 1).params,
        )
        > 1e-3
    )


def test_lars_is_a_value():
    lars = LARS(0.1).bind(SPEC)
    again = pickle.loads(pickle.dumps(lars))
    assert again == lars and hash(again) == hash(lars) and lars.sizes == SIZES


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"trust": 0.0}, "trust must be positive, got 0.0"),
        ({"eps": -1.0}, "eps must be >= 0, got -1.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
        ({"buffers": "mean"}, "buffers must be keep, reset or average, got 'mean'"),
    ],
)
def test_wrong_parameters_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        LARS(0.1, **options)
