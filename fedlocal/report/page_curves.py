"""Curves of the page as plain values."""

from typing import Any

import numpy as np

from fedlocal.report.runs import Group
from fedlocal.report.series import AXES, metrics_of, series

# More points cannot be seen, and make the page slow.
MOST_POINTS = 1000
BAND = (
    "Line: mean over the n seeds of a setting, at the rounds that all of them have a value for, and"
    " at the mean of their positions on the axis; band: one standard deviation (of the sample,"
    " n - 1) to either side. A mean ends where a seed diverges."
)


def curves_data(groups: list[Group]) -> dict[str, Any]:
    """Return axes, metrics, each group's series, and a caption."""
    metrics = metrics_of(groups)
    caption = [BAND] if any(group.size > 1 for group in groups) else []
    if any(len(run.history) > MOST_POINTS for group in groups for run in group.runs):
        caption.append(f"Of long runs at most {MOST_POINTS} evenly spaced points are drawn.")
    if len(groups) > 1:
        caption.append("A click in the legend hides a line, a double click all others.")
    return {
        "axes": [{"key": axis.key, "label": axis.label} for axis in AXES],
        "metrics": [{"key": key, "label": label} for key, label in metrics.items()],
        "groups": [
            {"label": group.label, "n": group.size, "series": _all_series(group, list(metrics))}
            for group in groups
        ],
        "caption": " ".join(caption),
    }


def _all_series(group: Group, metrics: list[str]) -> dict[str, Any]:
    found = {metric: _series(group, metric) for metric in metrics}
    return {metric: one for metric, one in found.items() if one["mean"]}


def _series(group: Group, metric: str) -> dict[str, Any]:
    """Return mean and deviation by round, and the places on each axis that all rounds have."""
    along = {axis.key: series(group, metric, axis) for axis in AXES}
    one = along["rounds"]
    return {
        "mean": _thin(one.mean),
        "deviation": _thin(one.deviation),
        "x": {key: _thin(by.x) for key, by in along.items() if len(by.x) == len(one.x)},
    }


def _thin(values: list[float]) -> list[float]:
    """Return evenly spaced values, the last among them, with the digits that a picture shows."""
    places = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(int)
    return [float(f"{values[place]:.7g}") for place in places]
