"""What curves are drawn from: a metric's mean and spread over the seeds, along an axis."""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from fedlocal.report.groups import Group
from fedlocal.report.runs import FinishedRun

Row = dict[str, Any]


class Axis(NamedTuple):
    """What a metric is drawn against; `position` is None in a row that does not have it."""

    key: str
    label: str
    position: Callable[[Row], float | None]


AXES = (
    Axis("rounds", "rounds", lambda row: row["round"]),
    Axis("local_steps", "local steps", lambda row: row["local_steps"]),
    Axis(
        "bytes",
        "megabytes, both ways",
        lambda row: (row["uplink_bytes"] + row["downlink_bytes"]) / 1e6,
    ),
    Axis("seconds", "simulated seconds", lambda row: row["sim_seconds"]),
)
METRICS = {
    "test_accuracy": "test accuracy",
    "train_loss": "train loss",
    "test_loss": "test loss",
    # What is left where the data are elsewhere and there is no test set.
    "local_loss": "clients' loss while they trained",
}
# Columns that are no metric: an axis, or the machine's time.
POSITIONS = ("round", "local_steps", "uplink_bytes", "downlink_bytes", "sim_seconds")
NO_METRIC = (*POSITIONS, "wall_seconds")


class Series(NamedTuple):
    """Mean and sample standard deviation over the seeds; no deviations of a single one.

    x, mean and deviation have an entry for each round in which all seeds have a value. x is a mean
    too: seeds may need different bytes or seconds for a round.
    """

    x: list[float]
    mean: list[float]
    deviation: list[float]


def series(group: Group, metric: str, axis: Axis) -> Series:
    """A group's curve; without points where no round has a value from all seeds."""
    points = [_points(run, metric, axis) for run in group.runs]
    rounds = [r for r in points[0] if all(r in others for others in points[1:])]
    values = np.array([[one[r] for r in rounds] for one in points]).reshape(len(points), -1, 2)
    # A seed that diverged has nan or inf from there on, and so has the mean.
    with np.errstate(invalid="ignore"):
        x, mean = np.moveaxis(values.mean(axis=0), 1, 0)
        spread = values[:, :, 1].std(axis=0, ddof=1).tolist() if group.size > 1 else []
    return Series(x.tolist(), mean.tolist(), spread)


def metrics_of(groups: list[Group]) -> dict[str, str]:
    """The metrics that any run has a value of, and their names: the usual ones first."""
    rows = [row for group in groups for run in group.runs for row in run.history]
    found = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    known = [key for key in METRICS if key in found]
    others = [key for key in found if key not in METRICS and key not in NO_METRIC]
    return {key: METRICS.get(key, key.replace("_", " ")) for key in (*known, *others)}


def spread_of(values: list[float]) -> float | None:
    """The sample standard deviation, which divides by n - 1; None of a single value."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _points(run: FinishedRun, metric: str, axis: Axis) -> dict[int, tuple[float, float]]:
    """(x, y) by round, where both are there."""
    points = {
        int(row["round"]): (axis.position(row), row.get(metric))
        for row in run.history
        if row.get(metric) is not None
    }
    return {
        r: (float(x), float(y)) for r, (x, y) in points.items() if x is not None and y is not None
    }
