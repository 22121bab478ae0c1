"""Finished runs under another clock: the same rounds, other seconds."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from fedlocal.config.components import clock_of
from fedlocal.config.errors import one_line
from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import flat_text
from fedlocal.report.units import Numbers
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.ledger import load_ledger
from fedlocal.rounds.retimed import replay

GROUP = "clock."
# Allowed difference of the kept seconds from those of the kept ledger under the run's own clock.
TOLERANCE = 1e-6


class RetimedRuns(NamedTuple):
    """Runs under another clock.

    Attributes:
        runs: All runs.
        left_out: Reasons why some runs have no seconds now, by their labels.
    """

    runs: list[FinishedRun]
    left_out: dict[str, str]


def retime(runs: list[FinishedRun], changes: dict[str, Numbers]) -> RetimedRuns:
    """Compute the seconds of finished runs under a clock in which these settings are others.

    All other settings stay as each run had them. A run whose rounds depend on the clock keeps its
    rounds and bytes and loses its seconds, which are not comparable with those of another clock.

    Args:
        runs: Finished runs; their folders are only read.
        changes: New values of `Clock`'s seconds_per_step, latency_seconds or bandwidth_bytes.

    Raises:
        ValueError: The clock is invalid, or no run can be timed again; names the reasons.
    """
    replace(Clock(), **changes)
    reasons = {run.label: _reason(run) for run in runs}
    left_out = {label: reason for label, reason in reasons.items() if reason}
    if len(left_out) == len(runs):
        raise ValueError(f"no run can be timed under another clock: {describe_reasons(left_out)}")
    return RetimedRuns(
        [_untimed(run) if reasons[run.label] else _retimed(run, changes) for run in runs], left_out
    )


def describe_reasons(left_out: dict[str, str]) -> str:
    """Return a line with the runs of each reason."""
    labels: dict[str, list[str]] = {}
    for label, reason in left_out.items():
        labels.setdefault(reason, []).append(label)
    return "; ".join(f"{reason} (in {', '.join(names)})" for reason, names in labels.items())


def _reason(run: FinishedRun) -> str:
    """Return the reason why a run cannot be timed again; "" if it can."""
    reason = run.summary.get("clock_decided")
    if reason is None or not (run.folder / "ledger.npz").exists():
        return "the folder keeps no ledger, it is of an older fedlocal"
    if reason:
        return reason
    try:
        again = _seconds(run, _clock(run, {}))
    except Exception as error:
        # A trace's file may be missing, or a class may not be installed here.
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
    """Return the run's overrides with the changes among them, so that tables name these."""
    kept = [
        one
        for one in run.summary.get("overrides", [])
        if one.lstrip("+").split("=")[0] not in {GROUP + key for key in changes}
    ]
    return kept + [f"{GROUP}{key}={value}" for key, value in flat_text(changes).items()]


def _seconds(run: FinishedRun, clock: Clock) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return replay(load_ledger(run.folder / "ledger.npz"), clock, run.summary["seed"])


def _clock(run: FinishedRun, changes: dict[str, Numbers]) -> Clock:
    config = run.summary["config"]
    return clock_of(DictConfig({"clock": config["clock"] | changes}))
