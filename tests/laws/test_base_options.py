"""Laws of the base optimiser's options: momentum, Nesterov, weight decay, buffers, weights.

Every strategy takes them or says why not; in the limits where a method is another one it takes them
as that one does; and with them the methods that correct drifts still arrive at the optimum.
"""

import inspect
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import fedlocal
import strategies
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.compress import Identity, PowerSGD, TopK
from fedlocal.slots.inner.sgd import SGD, AdamW, Momentum
from fedlocal.slots.outer.sgd import OuterSGD
from strategies.adacomm import adacomm
from strategies.bmuf import bmuf
from strategies.cser import cser
from strategies.double_compression import double_compression
from strategies.double_squeeze import double_squeeze
from strategies.ef_sign_sgd import ef_sign_sgd
from strategies.fedavg import fedavg
from strategies.feddyn import feddyn
from strategies.fednova import fednova
from strategies.fedopt import fedopt
from strategies.fedprox import fedprox
from strategies.local_sgd import local_sgd
from strategies.minibatch_sgd import minibatch_sgd
from strategies.post_local_sgd import post_local_sgd
from strategies.power_sgd import power_sgd
from strategies.qsparse_local_sgd import qsparse_local_sgd
from strategies.scaffold import scaffold
from strategies.slowmo import slowmo
from strategies.sparq_sgd import sparq_sgd
from strategies.squarm_sgd import squarm_sgd
from strategies.vrl_sgd import vrl_sgd
from tests.choices import every_pair, sample
from tests.gaps import DIFFERENT, EXACT, gap
from tests.problems import distance, least_squares, points, simulate
from tests.ragged import ragged_clients, small_model
from tests.strategies_in_conf import NAMES, strategy_of
from tests.strategies_in_conf import options_of as defaults_of

LR, H = 0.02, 4
PROBLEM = least_squares()
BASE = {"momentum": 0.6, "nesterov": True, "weight_decay": 0.1}
BASES = [BASE, {**BASE, "nesterov": False}]


# All of them.


@pytest.mark.parametrize("name", NAMES)
def test_conf_lists_what_the_function_takes(name):
    given = list(inspect.signature(getattr(strategies, name)).parameters)
    assert sorted(defaults_of(name)) == sorted(given)
    assert given[0] == "lr"
    for option in ("momentum", "nesterov", "weight_decay"):
        assert option in given or f"local_{option}" in given


@cache
def end_of(strategy, l2=0.0):
    options = {"rounds": 3, "batch_size": 6, "seed": 3, "device": "cpu", "dtype": torch.float64}
    return fedlocal.simulate(small_model(), ragged_clients(), strategy, l2=l2, **options).params


@pytest.mark.parametrize("name", sample(NAMES, 3))
def test_weight_decay_is_an_l2_term_of_the_loss(name):
    none, some = (strategy_of(name, f"strategy.weight_decay={w}") for w in (0.0, 0.1))
    decayed = end_of(some)
    assert distance(decayed, end_of(none)) > 1e-6
    if isinstance(some.inner, AdamW):
        # Decoupled: it scales the weights, whatever the gradient's moments are.
        assert distance(decayed, end_of(none, l2=0.1)) > 1e-6
    else:
        assert distance(decayed, end_of(none, l2=0.1)) < EXACT


def options_of(name):
    keys = inspect.signature(getattr(strategies, name)).parameters
    return [key for key in keys if key.removeprefix("local_") in BASE]


@pytest.mark.parametrize(
    ("name", "option"), sample([(n, o) for n in NAMES for o in options_of(n)], 4)
)
def test_an_option_that_is_given_counts_or_is_refused(name, option):
    momenta = [key for key in options_of(name) if key.endswith("momentum")]
    before = {key: False if key.endswith("nesterov") else 0.0 for key in options_of(name)}
    if option.endswith("nesterov"):
        before |= {key: 0.5 for key in momenta if "takes no" not in refusal(name, {key: 0.5})}
    after = before | {option: True if option.endswith("nesterov") else 0.5}
    if said := refusal(name, after):
        assert f"{name} takes no {option}, got" in said
        return
    assert distance(end_of(made(name, before)), end_of(made(name, after))) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_nesterov_without_momentum_is_refused_unless_it_is_the_default(name):
    keys = {key for key in options_of(name) if key.endswith("nesterov")}
    options = {key: True if key in keys else 0.0 for key in options_of(name)}
    default = all(defaults_of(name)[key] for key in keys)
    said = refusal(name, {**options, "weight_decay": 0.0})
    assert default == (not said) and "\n" not in said
    assert default or "nesterov=True changes" in said or f"{name} takes no nesterov" in said


def refusal(name, options):
    try:
        made(name, options)
    except ValueError as error:
        return str(error)
    return ""


def made(name, options):
    """With the compressors that keep something of a tiny model."""
    shown = {key: str(value).lower() for key, value in options.items()}
    return strategy_of(name, *(f"strategy.{key}={value}" for key, value in shown.items()))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.99])
def test_effective_steps_are_what_a_constant_direction_makes(momentum, nesterov):
    rates = torch.tensor([0.1, 0.3, 0.02, 0.02, 0.5], dtype=torch.float64)
    inner = Momentum(0.1, momentum=momentum, nesterov=nesterov)
    x, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    state = inner.init(x)
    for rate, effective in zip(rates, inner.effective(rates), strict=True):
        moved, state = inner.step(x, -one, state, rate)
        assert float(moved - x) == pytest.approx(float(effective), rel=1e-14)
        x = moved
    if momentum == 0:
        assert torch.equal(inner.effective(rates), SGD(0.1).effective(rates))


# Limits.


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("seed", [0, 7])
def test_without_their_own_term_they_are_fedavg(base, seed):
    average = fedavg(LR, H, **base)
    assert gap(PROBLEM, average, local_sgd(LR, H, **base, buffers="reset", weights="examples")) == 0
    for other in (
        fedprox(LR, H, 0.0, **base),
        fedopt(LR, H, "sgd", beta1=0.0, **base),
        fednova(LR, H, **base),
    ):
        assert gap(PROBLEM, average, other, seed=seed) < EXACT
    assert gap(PROBLEM, average, fedavg(LR, H)) > DIFFERENT


@pytest.mark.parametrize("base", BASES)
def test_block_momentum_is_slow_momentum_on_any_base(base):
    ours = {f"local_{key}" if key != "weight_decay" else key: base[key] for key in base}
    for options in ({}, {"buffers": "keep"}, {"buffers": "average", "weights": "examples"}):
        blocks = bmuf(LR, H, 0.8, 0.5, **ours, **options)
        assert gap(PROBLEM, blocks, slowmo(LR, H, 0.8, 0.5, **base, **options)) < EXACT


@every_pair
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("weights", ["uniform", "examples"])
@pytest.mark.parametrize("buffers", ["keep", "reset", "average"])
def test_compressed_methods_are_local_sgd_where_nothing_is_lost(base, weights, buffers):
    options = {**base, "buffers": buffers, "weights": weights}
    local, every = local_sgd(LR, H, **options), local_sgd(LR, 1, **options)
    whole = TopK(1.0)
    assert gap(PROBLEM, local, qsparse_local_sgd(LR, H, whole, **options)) < EXACT
    assert gap(PROBLEM, local, ef_sign_sgd(LR, H, whole, **options)) < EXACT
    assert gap(PROBLEM, local, double_compression(LR, H, whole, whole, **options)) < EXACT
    assert gap(PROBLEM, every, double_squeeze(LR, whole, whole, **options)) < EXACT


@pytest.mark.parametrize("weights", ["uniform", "examples"])
@pytest.mark.parametrize("base", BASES)
def test_schedules_and_slow_steps_weigh_as_local_sgd_does(base, weights):
    options = {**base, "weights": weights}
    local = local_sgd(LR, H, **options)
    assert gap(PROBLEM, local, adacomm(LR, H, block=99, **options)) < EXACT
    assert gap(PROBLEM, local, post_local_sgd(LR, H, 0, **options)) < EXACT
    slow = slowmo(LR, H, 1.0, 0.0, buffers="keep", **options)
    assert gap(PROBLEM, local, slow) < EXACT


@pytest.mark.parametrize("base", BASES)
def test_every_step_methods_are_mini_batch_sgd_where_nothing_is_lost(base):
    sync = minibatch_sgd(LR, **base)
    assert gap(PROBLEM, sync, cser(LR, 1, 3, Identity(), Identity(), **base)) < EXACT
    assert gap(PROBLEM, sync, sparq_sgd(LR, 1, "complete", 1.0, Identity(), 0.0, **base)) < EXACT
    weighted = minibatch_sgd(LR, **base, weights="examples")
    exact = power_sgd(LR, 1, PowerSGD(7), **base, weights="examples")
    # Its decay and its momentum act on either side of the mean, which is linear.
    assert gap(PROBLEM, weighted, exact) < EXACT


def test_sparq_with_nesterov_momentum_is_squarm():
    sparq = sparq_sgd(LR, H, threshold=0.0, momentum=0.6, nesterov=True)
    assert sparq == squarm_sgd(LR, H, momentum=0.6)
    assert sparq != squarm_sgd(LR, H, momentum=0.6, nesterov=False)


@pytest.mark.parametrize("base", BASES)
def test_a_round_of_feddyn_is_twice_fedprox_on_any_base(base):
    twice = replace(fedprox(LR, H, 0.5, weights="uniform", **base), outer=OuterSGD(2.0))
    assert gap(PROBLEM, feddyn(LR, H, 0.5, **base), twice, rounds=1) < EXACT


# Drifts.


@pytest.mark.parametrize("base", BASES)
def test_row_4_one_step_is_synchronous_momentum_with_averaged_buffers(base):
    sync = minibatch_sgd(LR, **base)
    assert gap(PROBLEM, vrl_sgd(LR, 1, **base, buffers="average"), sync) < EXACT
    # Reset, nothing is left of it but the longer step of Nesterov's.
    assert gap(PROBLEM, vrl_sgd(LR, 1, **base), minibatch_sgd(LR, **base)) > DIFFERENT


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("seed", [0, 7])
def test_row_5_holds_on_any_base(base, seed):
    assert gap(PROBLEM, scaffold(LR, H, **base), vrl_sgd(LR, H, **base), seed=seed) < EXACT


def optimum(problem, weights, decay):
    """Where the weighted mean gradient plus decay x is zero."""
    hessians = [a.T @ a / len(a) for a in problem.features]
    slopes = [
        a.T @ b[:, 0] / len(a) for a, b in zip(problem.features, problem.targets, strict=True)
    ]
    hessian = sum(p * h for p, h in zip(weights, hessians, strict=True))
    slope = sum(p * s for p, s in zip(weights, slopes, strict=True))
    return np.linalg.solve(hessian + decay * np.eye(len(slope)), slope)


APART = least_squares(spread=3.0)
# Rounds and a step size with which corrected methods are at their limit to rounding.
ROUNDS, LARGE = 150, 0.08
AT_THE_END = Evaluate(every=ROUNDS)
CORRECTED = {
    "vrl": vrl_sgd(LARGE, 5, **BASE),
    "vrl heavy ball": vrl_sgd(LARGE, 5, **BASES[1]),
    "vrl average": vrl_sgd(LARGE, 5, **BASE, buffers="average"),
    "scaffold": scaffold(LARGE, 5, **BASE),
    "scaffold I": scaffold(LARGE, 5, option="I", **BASE),
    "feddyn": feddyn(LARGE, 5, 1.0, **BASE),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_methods_arrive_at_the_regularised_optimum(name):
    end = simulate(APART, CORRECTED[name], ROUNDS, evaluate=AT_THE_END).params
    assert distance(end, optimum(APART, APART.uniform, 0.1)) < 1e-8


def test_without_a_correction_they_do_not():
    local = local_sgd(LARGE, 5, **BASE, buffers="reset")
    end = simulate(APART, local, ROUNDS, evaluate=AT_THE_END).params
    assert distance(end, optimum(APART, APART.uniform, 0.1)) > 1e-2


def test_weights_by_examples_arrive_at_the_weighted_optimum():
    strategy = vrl_sgd(LARGE, 5, **BASE, weights="examples")
    end = simulate(APART, strategy, ROUNDS, evaluate=AT_THE_END).params
    assert distance(end, optimum(APART, APART.by_examples, 0.1)) < 1e-8


def two_quadratics():
    """Curvatures 1 and 3, optima 0 and 2, and where their mean is least."""
    problem = points((1, 1), dim=1)
    features = tuple(np.sqrt([[c]]) for c in (1.0, 3.0))
    targets = tuple(np.sqrt([[c]]) * b for c, b in ((1.0, 0.0), (3.0, 2.0)))
    return replace(problem, features=features, targets=targets, start=np.array([5.0])), 1.5


@every_pair
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.6, 0.99])
@pytest.mark.parametrize("make", [vrl_sgd, scaffold])
def test_small_steps_with_momentum_do_not_diverge(make, momentum, nesterov):
    # By period times lr, drifts would be up to 1 / (1 - momentum) too large: from 0.6 on this
    # problem diverges then.
    problem, best = two_quadratics()
    strategy = make(1e-3, 50, momentum=momentum, nesterov=nesterov)
    result = simulate(problem, strategy, ROUNDS, evaluate=AT_THE_END)
    assert distance(result.params, [best]) < 1e-8
    if make is vrl_sgd:
        assert float(result.client_states.correction.drift.sum(0).abs()) < 1e-11
