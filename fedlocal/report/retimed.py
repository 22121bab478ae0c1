"""Finished runs under another clock: the same course, other seconds."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from fedlocal.config.chosen import clock_of
from fedlocal.config.refusal import one_line
from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import leaves
from fedlocal.report.units import Numbers
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.ledger import load_ledger
from fedlocal.rounds.retimed import replay

GROUP = "clock."
# What the kept seconds may differ by from those of the kept ledger under the run's own clock.
TOLERANCE = 1e-6


class Replayed(NamedTuple):
    """runs: All of them. left_out: Why some have no seconds now, by the runs' labels."""

    runs: list[FinishedRun]
    left_out: dict[str, str]


def replayed(runs: list[FinishedRun], changes: dict[str, Numbers]) -> Replayed:
    """The runs with the seconds that they would have had, had these keys of the clock been others.

    What the changes do not name stays as each run had it. A run that would have gone another way
    keeps its rounds and bytes, and loses its seconds: those of its own clock must not stand beside
    those of another.

    Args:
        runs: In their folders, which are only read.
        changes: Of `Clock`: seconds_per_step, latency_seconds, bandwidth_bytes.

    Raises:
        ValueError: No clock is like that, or there is no run whose seconds can be had again; names
            the reasons.
    """
    replace(Clock(), **changes)
    reasons = {run.label: _reason(run) for run in runs}
    left_out = {label: reason for label, reason in reasons.items() if reason}
    if len(left_out) == len(runs):
        raise ValueError(f"no run can be timed under another clock: {said(left_out)}")
    return Replayed(
        [_untimed(run) if reasons[run.label] else _retimed(run, changes) for run in runs], left_out
    )


def said(left_out: dict[str, str]) -> str:
    """The runs by reason, in a line."""
    reasons = dict.fromkeys(left_out.values())
    labels = {
        one: [label for label, reason in left_out.items() if reason == one] for one in reasons
    }
    return "; ".join(f"{reason} (in {', '.join(names)})" for reason, names in labels.items())


def _reason(run: FinishedRun) -> str:
    """Why there are no seconds under another clock; "" where there are."""
    reason = run.summary.get("clock_decided")
    if reason is None or not (run.folder / "ledger.npz").exists():
        return "the folder keeps no ledger, it is of an older fedlocal"
    if reason:
        return reason
    try:
        again = _seconds(run, _clock(run, {}))
    except Exception as error:
        # The file of a trace that has gone, a class that is not installed here.
        return f"the clock cannot be built again: {one_line(error)}"
    kept = np.array([row["sim_seconds"] for row in run.history], dtype=np.float64)
    if again.shape != kept.shape or not np.allclose(again, kept, rtol=TOLERANCE, atol=0):
        return "the ledger and the clock of the folder do not give the seconds of its metrics.csv"
    return ""


def _retimed(run: FinishedRun, changes: dict[str, Numbers]) -> FinishedRun:
    times = _seconds(run, _clock(run, changes)).tolist()
    rows = [row | {"sim_seconds": s} for row, s in zip(run.history, times, strict=True)]
    config = run.summary["config"]
    summary = run.summary | {
        "sim_seconds": times[-1],
        "config": config | {"clock": config["clock"] | changes},
        "overrides": _overrides(run, changes),
    }
    return run._replace(history=rows, summary=summary)


def _untimed(run: FinishedRun) -> FinishedRun:
    rows = [row | {"sim_seconds": None} for row in run.history]
    return run._replace(history=rows, summary=run.summary | {"sim_seconds": None})


def _overrides(run: FinishedRun, changes: dict[str, Numbers]) -> list[str]:
    """What the run was told, as if it had been told the changes: tables name them."""
    told = [
        one
        for one in run.summary.get("overrides", [])
        if one.lstrip("+").split("=")[0] not in {GROUP + key for key in changes}
    ]
    return told + [f"{GROUP}{key}={value}" for key, value in leaves(changes).items()]


def _seconds(run: FinishedRun, clock: Clock) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return replay(load_ledger(run.folder / "ledger.npz"), clock, run.summary["seed"])


def _clock(run: FinishedRun, changes: dict[str, Numbers]) -> Clock:
    config = run.summary["config"]
    return clock_of(DictConfig({"clock": config["clock"] | changes}))
