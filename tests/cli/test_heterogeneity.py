"""Unequal clients from the command line: what runs, and what is refused in one line."""

import csv

import numpy as np
import pytest

from fedlocal.rounds.diagnostics import NAMES

QUICK = ("dataset=quadratic", "rounds=4", "H=5")

CASES = [
    ("clock=pareto clock.law.shape=1", "clock.law.shape must be above 1, got 1"),
    ("clock=shifted_exponential clock.law.shift=2", "clock.law.shift must be in [0, 1], got 2"),
    ("clock=pareto clock.law.shape=abc", "clock.law.shape must be a number, got 'abc'"),
    ("clock=parreto", "no clock=parreto (did you mean pareto?)", "trace"),
    ("clock.law=normal", "clock.law must be constant or exponential, got 'normal'"),
    ("clock=trace", "clock.law.path must be given; add clock.law.path=..."),
    ("clock=trace clock.law.path=/nonexistent.csv", "no file /nonexistent.csv", ".csv or .npy"),
    ("clock.spread=-1", "clock.spread must be >= 0, got -1"),
    ("clock.seconds_per_step=[a]", "a number or a list, each a number, got ['a']"),
    ("clock.seconds_per_step=[0.1,-1]", "clock.seconds_per_step", "finite, got [0.1, -1]"),
    ("clock.bandwidth_bytes=[]", "clock.bandwidth_bytes must be positive, got []"),
    ("faults=late", "no faults=late", "dead, dropout, none, schedule"),
    ("faults.probability=1.5", "faults.probability must be in [0, 1], got 1.5"),
    ("faults=dead faults.outages=[[9,1]]", "names client 9, and the clients are 0 to 7"),
    ("faults=schedule faults.outages=[[1,5,2]]", "the return later, got [1, 5, 2]"),
    ("faults=schedule faults.outages=[3]", "faults.outages must be a list, each a list"),
    ("strategy=vrl_sgd faults=dead", "every client takes part in every round"),
    ("deadline=foo", "no deadline=foo", "drop, late, none, partial"),
    ("deadline=partial deadline.seconds=0", "deadline.seconds must be positive, got 0"),
    ("deadline=partial deadline.late=foo", "partial, drop, next_round, got 'foo'"),
    ("deadline=partial deadline.seconds=soon", "deadline.seconds must be a number"),
    ("strategy=vrl_sgd deadline=partial", "same number of local steps", "Use deadline=none"),
    ("strategy=d_psgd deadline=drop", "every client takes part in every round", "deadline=none"),
    ("strategy=scaffold deadline=late", "valid for the round's own anchor only", "late=drop"),
    ("strategy=async_local_sgd deadline=partial", "this strategy is asynchronous"),
    ("strategy=anytime_minibatch strategy.seconds=0", "seconds must be positive, got 0"),
    ("diagnostics=[stalenes]", "no diagnostic stalenes (did you mean staleness?)", "drift_norm"),
    ("diagnostics=5", "diagnostics", "true, false or a list of gradient_diversity"),
]


@pytest.mark.parametrize("given, says", [(case[0], case[1:]) for case in CASES])
def test_refusal(cli, here, given, says):
    line = cli(*QUICK, *given.split()).refused
    assert line.startswith("fedlocal: ")
    for part in says:
        assert part in line
    assert list(here.iterdir()) == []


def metrics(here):
    (path,) = here.rglob("metrics.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


RUNS = {
    "partial": "deadline=partial deadline.seconds=0.15 clock=pareto clock.spread=0.5",
    "drop": "deadline=drop deadline.seconds=0.2 clock=shifted_exponential clock.spread=1",
    "late": "deadline=late deadline.seconds=0.15 clock.seconds_per_step=[0.01,0.02]",
    "dead": "faults=dead faults.outages=[[1,2]] partition=redundant partition.mu=0.2 K=5",
    "schedule": "faults=schedule faults.outages=[[3,1,2],[0,2]] faults.probability=0.2",
    "anytime": "strategy=anytime_minibatch clock=exponential clock.bandwidth_bytes=[1e4,1e6]",
}


@pytest.mark.parametrize("name", RUNS)
def test_runs(cli, here, name):
    outcome = cli(*QUICK, *RUNS[name].split(), "diagnostics=true")
    assert (outcome.code, outcome.err) == (0, "")
    rows = metrics(here)
    assert [list(row) for row in rows] == [list(rows[0])] * 4
    assert set(NAMES) < set(rows[0])
    assert any(float(row["answered"]) > 0 for row in rows)
    assert float(rows[-1]["gradient_diversity"]) > 1 / 8


def test_a_trace_from_a_file(cli, here, tmp_path):
    np.savetxt(tmp_path / "trace.csv", [[0.1, 0.2], [0.4, 0.3]], delimiter=",")
    timed = ("clock=trace", f"clock.law.path={tmp_path / 'trace.csv'}", "clock.latency_seconds=0")
    assert cli(*QUICK, *timed, "clock.bandwidth_bytes=inf").code == 0
    seconds = [float(row["sim_seconds"]) for row in metrics(here)]
    assert seconds == pytest.approx([1, 3, 4, 6])


def test_some_diagnostics(cli, here):
    assert cli(*QUICK, "diagnostics=[drift_norm]").code == 0
    assert [name for name in NAMES if name in metrics(here)[0]] == ["drift_norm"]
