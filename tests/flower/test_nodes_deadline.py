"""Deadlines and diagnostics over Flower's nodes: the same rows as in one process."""

from dataclasses import replace

import pytest

from fedlocal import Clock, DropOut
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.diagnostics import NAMES
from fedlocal.rounds.run_loop import initial_progress, run
from strategies import anytime_minibatch, double_compression, local_sgd, overlap_local_sgd
from tests.flower.rig import Rig
from tests.ragged import simulation

CLOCK = Clock("exponential", (0.01, 0.02, 0.05), 0.05, spread=0.3)


def records(strategy, deadline, **options):
    """Of a run on three nodes, whose rows are those of the run in one process."""
    sim = simulation(strategy, rounds=6, **options)
    sim = replace(sim, clock=CLOCK, deadline=deadline, diagnostics=tuple(NAMES))
    rig = Rig(sim, 3)
    with rig.grid.running():
        remote = rig.over_nodes()
        _, over, records = run(remote, initial_progress(remote))
    _, here, _ = run(sim, initial_progress(sim))
    for ours, theirs in zip(over, here, strict=True):
        assert ours | {"wall_seconds": 0} == theirs | {"wall_seconds": 0}
    return records


@pytest.mark.parametrize("late", ["partial", "drop", "next_round"])
@pytest.mark.parametrize("make", [local_sgd, double_compression])
def test_deadlines(make, late):
    found = records(make(0.1, 4), Deadline(0.2, late))
    assert len({tuple(record.steps) for record in found}) > 1
    assert any(record.lasts == (0.2, 0.2) for record in found)


def test_deadlines_and_faults():
    faults = DropOut(0.2, [[1, 2, 4]])
    found = records(local_sgd(0.1, 4), Deadline(0.2, "next_round"), faults=faults)
    assert len({len(record.clients) for record in found}) > 1


def test_fixed_compute_time():
    found = records(anytime_minibatch(0.1, 0.05), Deadline())
    assert len({int(steps) for record in found for steps in record.steps}) > 2


def test_clients_with_models_of_their_own():
    assert len(records(overlap_local_sgd(0.1, 3), Deadline())) == 6


def test_a_round_to_which_nobody_is_invited(monkeypatch):
    monkeypatch.setattr(f"{__name__}.CLOCK", Clock("constant", 0.02, 0.05, float("inf")))
    found = records(local_sgd(0.1, 4), Deadline(0.12, "next_round"))
    assert [len(record.clients) for record in found] == [5, 0] * 3
