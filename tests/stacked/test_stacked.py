"""Runs that are stacked are the runs that they are alone."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.progress import outset, run
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.meeting import Meeting, Together
from fedlocal.runtime.stacked.numbers import numbers, rest, with_numbers
from fedlocal.runtime.stacked.turns import in_turns
from fedlocal.slots import Correction
from fedlocal.slots.compress import QSGD, ErrorFeedback, TopK
from strategies import easgd, fedprox, local_sgd, scaffold, vrl_sgd
from tests import ragged
from tests.runs import largest_difference
from tests.strategies_in_conf import NAMES, strategy_of


def stack(sims, meeting=None):
    """Final states of the runs, stacked, and how many batches were run."""
    meeting = meeting or Meeting()
    together = [replace(sim, runtime=Together(sim.runtime, sim.objective, "same")) for sim in sims]
    jobs = [lambda sim=sim: run(sim, outset(sim)).state for sim in together]
    return in_turns(jobs, meeting.answer), meeting


def alone(sims):
    return [run(sim, outset(sim)).state for sim in sims]


def simulation(strategy, seed=3, **options):
    return replace(ragged.simulation(strategy, Vmapped(), **options), seed=seed)


def assert_same(sims, meeting=None):
    outcomes, meeting = stack(sims, meeting)
    for one, other in zip(outcomes, alone(sims), strict=True):
        assert largest_difference(one, other) < 1e-12
    return meeting


@pytest.mark.parametrize("name", NAMES)
def test_seeds_of_every_strategy(name):
    meeting = assert_same([simulation(strategy_of(name), seed) for seed in (1, 2)])
    if not strategy_of(name).timing.value == "asynchronous":
        assert len(meeting.runners) >= 1 and None not in meeting.runners.values()


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
    meeting = assert_same([simulation(strategy) for strategy in strategies])
    assert len(meeting.runners) == 1 and None not in meeting.runners.values()


def test_runs_of_other_lengths_leave_the_others():
    sims = [simulation(local_sgd(0.1, 3), seed, rounds=seed) for seed in (2, 4, 6)]
    assert_same(sims)


def test_cohorts_that_change():
    assert_same([simulation(scaffold(0.1, 3), seed, participation=0.5) for seed in (1, 2, 3)])


def test_other_kinds_run_beside():
    local, drift = local_sgd(0.1, 3), scaffold(0.1, 3)
    meeting = assert_same([simulation(s, seed) for s in (local, drift) for seed in (1, 2)])
    assert len(meeting.runners) == 2


@dataclass(frozen=True)
class Looks(Correction):
    """Branches on its number, which no batch of many numbers can."""

    mu: float

    def correct(self, grad, x, state, view):
        return grad + self.mu * (x - view.start) if self.mu > 0.5 else grad


def test_a_piece_that_looks_at_its_number_runs_alone(caplog):
    sims = [simulation(replace(local_sgd(0.1, 3), correction=Looks(mu))) for mu in (0.1, 0.9)]
    meeting = assert_same(sims)
    assert list(meeting.runners.values()) == [None]
    assert "one by one" in caplog.text


def test_shares_of_top_k_run_alone():
    strategies = [replace(local_sgd(0.1, 3), uplink=ErrorFeedback(TopK(k))) for k in (0.1, 0.5)]
    meeting = assert_same([simulation(strategy) for strategy in strategies])
    assert list(meeting.runners.values()) == [None]


def test_data_that_differ_are_not_mixed():
    sims = [simulation(local_sgd(0.1, 3), seed) for seed in (1, 2)]
    other = sims[1].objective
    sims[1] = replace(sims[1], objective=replace(other, x=other.x + 1))
    meeting = assert_same(sims)
    assert list(meeting.runners.values()) == [None]


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
    meeting = assert_same(sims)
    assert list(meeting.runners.values()) == [None]
    # Only the seed of the batches differs.
    same = with_frozen_body(1, buffers="frozen")
    meeting = assert_same([same, replace(same, seed=8)])
    assert len(meeting.runners) == 1 and None not in meeting.runners.values()


def test_numbers_of_a_strategy():
    strategy = fedprox(0.1, 3, mu=0.5)
    found = numbers(strategy)
    assert found["correction", "mu"] == 0.5 and found["inner", "lr"] == 0.1
    assert rest(strategy) == rest(fedprox(0.2, 3, mu=0.1)) != rest(local_sgd(0.1, 3))
    two = torch.tensor(2.0)
    changed = with_numbers(strategy, [("correction", "mu")], [two])
    assert changed.correction.mu is two and strategy.correction.mu == 0.5


def test_numbers_inside_of_wrapped_pieces():
    link = replace(local_sgd(0.1, 3), uplink=ErrorFeedback(QSGD(4)))
    other = replace(link, uplink=ErrorFeedback(QSGD(8)))
    assert rest(link) != rest(other)
