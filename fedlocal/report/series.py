"""Curves of a group: a metric's mean and deviation over its seeds, along an axis.

A plain run draws its own curves, so this module uses NumPy and does not import pandas.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fedlocal.report.runs import FinishedRun, Group

Row = dict[str, Any]


class Axis(NamedTuple):
    """Describes what a metric is drawn against.

    Attributes:
        key: Name in files.
        label: Name in pictures, with the unit.
        position: Function from a row to its place on the axis; None where it has none.
    """

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
    # The only loss where the data are elsewhere and there is no test set.
    "local_loss": "clients' loss while they trained",
}
# Columns that are no metric: positions on an axis, and the machine's time.
NO_METRIC = (
    "round",
    "local_steps",
    "uplink_bytes",
    "downlink_bytes",
    "sim_seconds",
    "wall_seconds",
)


class Series(NamedTuple):
    """Curve with an entry for each round in which all seeds have a value.

    Attributes:
        x: Mean positions: seeds may need different bytes or seconds for a round.
        mean: Means over the seeds.
        deviation: Sample standard deviations; empty for a single seed.
    """

    x: list[float]
    mean: list[float]
    deviation: list[float]


def series(group: Group, metric: str, axis: Axis) -> Series:
    """Compute a group's curve; it is empty where no round has a value from all seeds."""
    points = [_points(run, metric, axis) for run in group.runs]
    rounds = [r for r in points[0] if all(r in others for others in points[1:])]
    values = np.array([[one[r] for r in rounds] for one in points]).reshape(len(points), -1, 2)
    # A seed that diverged has nan or inf from there on, and so has the mean.
    with np.errstate(invalid="ignore"):
        x, mean = np.moveaxis(values.mean(axis=0), 1, 0)
        deviation = values[:, :, 1].std(axis=0, ddof=1).tolist() if group.size > 1 else []
    return Series(x.tolist(), mean.tolist(), deviation)


def metrics_of(groups: list[Group]) -> dict[str, str]:
    """Return the names of the metrics that any run has a value of, the usual ones first."""
    rows = [row for group in groups for run in group.runs for row in run.history]
    found = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    known = [key for key in METRICS if key in found]
    others = [key for key in found if key not in METRICS and key not in NO_METRIC]
    return {key: METRICS.get(key, key.replace("_", " ")) for key in (*known, *others)}


def _points(run: FinishedRun, metric: str, axis: Axis) -> dict[int, tuple[float, float]]:
    """Return (x, y) by round, where both are defined."""
    points = {row["round"]: (axis.position(row), row.get(metric)) for row in run.history}
    return {
        r: (float(x), float(y)) for r, (x, y) in points.items() if x is not None and y is not None
    }
