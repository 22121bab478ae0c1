"""Runs that are stacked are the runs that they are alone."""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.run_loop import initial_progress, run, run_turns
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.batcher import SweepBatcher
from fedlocal.runtime.stacked.runtime import BatchedRuntime
from fedlocal.runtime.stacked.scheduling import in_turns
from fedlocal.runtime.stacked.varying_numbers import split, with_values
from fedlocal.runtime.vmapped import VmappedRunner
from fedlocal.slots import Correction, Timing
from fedlocal.slots.component import Component
from fedlocal.slots.compress import QSGD, ErrorFeedback, TernGrad, TopK
from fedlocal.slots.inner.base import ConstantRate
from fedlocal.slots.inner.lars import LARS
from fedlocal.slots.inner.lr_schedules import (
    CosineRate,
    ExponentialRate,
    InverseTimeRate,
    StepRate,
    WarmupRate,
)
from strategies import easgd, fedprox, local_sgd, scaffold, vrl_sgd
from tests import ragged
from tests.choices import sample
from tests.runs import largest_difference
from tests.strategies_in_conf import NAMES, strategy_of


def batched(sim, **group_key):
    return replace(sim, runtime=BatchedRuntime(sim.runtime, group_key), batched=True)


def stack(sims):
    """The runs' final states, and what trained them together."""
    batcher = SweepBatcher()
    courses = in_turns([run_turns(sim, initial_progress(sim)) for sim in sims], batcher.train)
    return [progress.state for progress in courses], batcher


def alone(sims):
    return [run(sim, initial_progress(sim)).state for sim in sims]


def simulation(strategy, seed=3, **options):
    return replace(ragged.simulation(strategy, Vmapped(), **options), seed=seed)


def assert_same(sims):
    """Run end stacked as they end alone; returns what trained them together."""
    outcomes, batcher = stack([batched(sim) for sim in sims])
    for one, other in zip(outcomes, alone(sims), strict=True):
        assert largest_difference(one, other) < 1e-12
    return batcher


@pytest.mark.parametrize("name", sample(NAMES, 3))
def test_seeds_of_every_strategy(name):
    batcher = assert_same([simulation(strategy_of(name), seed) for seed in (1, 2)])
    if not strategy_of(name).timing.value == "asynchronous":
        assert len(batcher.runners) >= 1 and None not in batcher.runners.values()


@pytest.mark.parametrize(
    "strategies",
    [
        [local_sgd(lr, 3) for lr in (0.01, 0.1, 0.3)],
        [fedprox(0.1, 3, mu=mu) for mu in (0.01, 0.1, 1.0)],
        [easgd(0.1, 3, alpha=alpha) for alpha in (0.05, 0.1)],
        [scaffold(lr, 3, server_lr=server) for lr, server in ((0.1, 1.0), (0.05, 0.5))],
        [vrl_sgd(0.1, period) for period in (2, 5)],
    ],
    ids=["lr", "mu", "alpha", "two", "H"],
)
def test_runs_that_differ_in_numbers_share_a_batch(strategies):
    batcher = assert_same([simulation(strategy) for strategy in strategies])
    assert len(batcher.runners) == 1 and None not in batcher.runners.values()


def test_runs_of_other_lengths_leave_the_others():
    sims = [simulation(local_sgd(0.1, 3), seed, rounds=seed) for seed in (2, 4, 6)]
    assert_same(sims)


def test_cohorts_that_change():
    assert_same([simulation(scaffold(0.1, 3), seed, participation=0.5) for seed in (1, 2, 3)])


def test_other_kinds_run_beside():
    local, drift = local_sgd(0.1, 3), scaffold(0.1, 3)
    batcher = assert_same([simulation(s, seed) for s in (local, drift) for seed in (1, 2)])
    assert len(batcher.runners) == 2


@dataclass(frozen=True)
class Looks(Correction):
    """Branches on its number, and does not say that it may be a tensor."""

    mu: float

    def correct(self, grad, x, state, view):
        return grad + self.mu * (x - view.start) if self.mu > 0.5 else grad


@dataclass(frozen=True)
class Promises(Looks):
    """Says so, and should not: no batch of many numbers can branch."""

    batched_fields: ClassVar[tuple[str, ...]] = ("mu",)


@dataclass(frozen=True)
class Breaks(Correction):
    """Has an error of its own."""

    def correct(self, grad, x, state, view):
        return grad.no_such_attribute


def test_a_field_that_is_not_declared_is_not_stacked(caplog):
    sims = [simulation(replace(local_sgd(0.1, 3), correction=Looks(mu))) for mu in (0.1, 0.9)]
    assert assert_same(sims).runners == {}
    assert "jobs that differ in correction.mu do not share a batch" in caplog.text
    assert "batched_fields" in caplog.text


def test_groups_of_an_undeclared_field_are_stacked_apart(caplog):
    strategies = [replace(local_sgd(0.1, 3), uplink=ErrorFeedback(TopK(k))) for k in (0.1, 0.5)]
    sims = [simulation(strategy, seed) for strategy in strategies for seed in (1, 2)]
    batcher = assert_same(sims)
    assert len(batcher.runners) == 2 and None not in batcher.runners.values()
    assert caplog.text.count("differ in uplink.compressor.ratio do not share a batch") == 1


def test_a_piece_that_branches_on_a_declared_number_runs_alone(caplog):
    sims = [simulation(replace(local_sgd(0.1, 3), correction=Promises(mu))) for mu in (0.1, 0.9)]
    batcher = assert_same(sims)
    assert list(batcher.runners.values()) == [None]
    assert "one by one: " in caplog.text and "data-dependent control flow" in caplog.text


def test_a_run_says_how_it_was_trained():
    sims = [batched(simulation(local_sgd(0.1, 3), seed)) for seed in (1, 2)]
    sims.append(batched(simulation(local_sgd(0.1, 3)), model="other"))
    stack(sims)
    assert [sim.cohort.about for sim in sims[:2]] == ["stacked with other jobs"] * 2
    assert sims[2].cohort.about.startswith("not stacked: jobs that differ in model do not share")
    assert "at once" in sims[2].cohort.about


def test_an_error_of_a_run_is_its_own_and_spares_the_other_runs():
    bad = replace(local_sgd(0.1, 3), correction=Breaks())
    strategies = [local_sgd(0.1, 3), local_sgd(0.1, 3), bad, bad]
    sims = [batched(simulation(s, seed)) for seed, s in enumerate(strategies)]
    errors = []

    def guarded(sim):
        try:
            return (yield from run_turns(sim, initial_progress(sim))).state
        except AttributeError as error:
            errors.append(error)
            return None

    states = in_turns([guarded(sim) for sim in sims], SweepBatcher().train)
    assert [state is None for state in states] == [False, False, True, True]
    assert len(errors) == 2 and all("no_such_attribute" in str(error) for error in errors)


def test_an_error_in_a_batch_is_raised_in_each_of_its_runs(monkeypatch):
    sims = [batched(simulation(local_sgd(0.1, 3), seed)) for seed in (1, 2)]

    def fails(*args):
        raise OverflowError("a bug")

    monkeypatch.setattr(VmappedRunner, "run", fails)
    ended = []

    def guarded(sim):
        with pytest.raises(OverflowError, match="a bug"):
            yield from run_turns(sim, initial_progress(sim))
        ended.append(sim.seed)

    in_turns([guarded(sim) for sim in sims], SweepBatcher().train)
    assert ended == [1, 2]


def test_data_that_differ_are_not_mixed():
    sims = [simulation(local_sgd(0.1, 3), seed) for seed in (1, 2)]
    other = sims[1].objective
    sims[1] = replace(sims[1], objective=replace(other, x=other.x + 1))
    batcher = assert_same(sims)
    assert list(batcher.runners.values()) == [None]


def with_frozen_body(body_seed, **options):
    """A run whose frozen layers are drawn from one seed, and whose head is always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(body_seed)
        body = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6).eval(), nn.Tanh())
        torch.manual_seed(0)
        model = nn.Sequential(body, nn.Linear(6, 3))
    sim = ragged.simulation(
        local_sgd(0.1, 3), Vmapped(), model=model, options=ModelOptions(frozen=["0"], **options)
    )
    assert sim.objective.constants.keys() >= {"0.0.weight", "0.0.bias"}
    return sim


def test_frozen_layers_that_differ_are_not_mixed():
    sims = [with_frozen_body(seed, buffers="frozen") for seed in (1, 2)]
    assert torch.equal(sims[0].start, sims[1].start)
    batcher = assert_same(sims)
    assert list(batcher.runners.values()) == [None]
    # Only the seed of the batches differs.
    same = with_frozen_body(1, buffers="frozen")
    batcher = assert_same([same, replace(same, seed=8)])
    assert len(batcher.runners) == 1 and None not in batcher.runners.values()


def cases():
    """Every declared number of every strategy in conf, and of what none of them has."""
    ours = {name: strategy_of(name) for name in NAMES}
    others = {
        "lars": replace(local_sgd(0.1, 3), inner=LARS(0.1)),
        "shift": local_sgd(0.1, 3, average_shift=3.0),
        "terngrad": replace(local_sgd(0.1, 3), uplink=ErrorFeedback(TernGrad(2.5))),
        "step": local_sgd(StepRate(0.1, {1: 0.5}), 3),
        "exponential": local_sgd(ExponentialRate(0.1, 0.9), 3),
        "cosine": local_sgd(CosineRate(0.1, 8, last=0.01), 3),
        "inverse": local_sgd(InverseTimeRate(0.1, 9.0), 3),
        "warmup": local_sgd(WarmupRate(ConstantRate(0.1), 4, first=0.1), 3),
    }
    seen = set()
    for name, strategy in {**ours, **others}.items():
        for path in split(strategy).varying:
            owner = strategy
            for field in path[:-1]:
                owner = getattr(owner, field)
            kind = type(owner), path[-1]
            # Step sizes come with the work: one strategy stands for all.
            if kind not in seen and strategy.timing is not Timing.ASYNCHRONOUS:
                seen.add(kind)
                yield pytest.param(strategy, path, id=f"{name} {'.'.join(path)}")


@pytest.mark.parametrize(("strategy", "path"), sample(cases(), 3))
def test_every_declared_number_may_differ_in_a_batch(strategy, path):
    value = split(strategy).varying[path]
    other = with_values(strategy, [path], [value / 2 if value else 0.125])
    batcher = assert_same([simulation(strategy), simulation(other)])
    assert len(batcher.runners) == 1 and None not in batcher.runners.values()


def test_declared_fields_exist():
    kinds = [Component]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert set(kind.batched_fields) <= {field.name for field in fields(kind)}, kind


def test_numbers_of_a_strategy():
    strategy = fedprox(0.1, 3, mu=0.5)
    found = split(strategy)
    assert found.varying == {("inner", "lr"): 0.1, ("correction", "mu"): 0.5}
    fixed = [split(s).fixed for s in (strategy, fedprox(1, 3, mu=0.1), local_sgd(0.1, 3))]
    assert fixed[0] == fixed[1] != fixed[2]
    two = torch.tensor(2.0)
    changed = with_values(strategy, [("correction", "mu")], [two])
    assert changed.correction.mu is two and strategy.correction.mu == 0.5


def test_numbers_inside_of_wrapped_pieces():
    link = replace(local_sgd(0.1, 3), uplink=ErrorFeedback(QSGD(4)))
    other = replace(link, uplink=ErrorFeedback(QSGD(8)))
    assert split(link).fixed != split(other).fixed
