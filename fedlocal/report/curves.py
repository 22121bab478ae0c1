"""curves.png: loss and accuracy against rounds, bytes and simulated seconds."""

from collections.abc import Callable
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from fedlocal.report.runs import FinishedRun

Row = dict[str, Any]
AXES: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("rounds", lambda row: row["round"]),
    ("megabytes, both ways", lambda row: (row["uplink_bytes"] + row["downlink_bytes"]) / 1e6),
    ("simulated seconds", lambda row: row["sim_seconds"]),
)
METRICS = (("train_loss", "train loss"), ("test_accuracy", "test accuracy"))
# What is left to draw where the data are elsewhere and there is no test set.
LOCAL = ("local_loss", "clients' loss while they trained")
LEGEND_CHARACTERS = 160


def draw(runs: list[FinishedRun], path: Path) -> None:
    """Draw all runs into one picture; their labels tell them apart."""
    from matplotlib.figure import Figure

    known = [metric for metric in METRICS if any(_points(one, metric[0]) for one in runs)]
    drawn = known or [LOCAL]
    widest = max(len(one.label) for one in runs) + 8
    columns = max(1, min(len(runs), LEGEND_CHARACTERS // widest))
    legend_lines = 0 if len(runs) == 1 else ceil(len(runs) / columns)
    size = (4.2 * len(AXES), 3.2 * len(drawn) + 0.2 * legend_lines)
    figure = Figure(figsize=size, layout="constrained")
    grid: Any = figure.subplots(len(drawn), len(AXES), squeeze=False)
    for plots, (key, title) in zip(grid, drawn, strict=True):
        for plot, (label, position) in zip(plots, AXES, strict=True):
            plot.set(xlabel=label, ylabel=title)
            _plot(plot, runs, key, position)
    if legend_lines:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")
    figure.savefig(path, dpi=110)


def _points(run: FinishedRun, key: str) -> list[Row]:
    return [row for row in run.history if row[key] is not None]


def _plot(plot: Any, runs: list[FinishedRun], key: str, position: Callable[[Row], float]) -> None:
    # Ten colours, then the same ones dashed, and so on.
    dashes = ("-", "--", ":", "-.")
    for number, run in enumerate(runs):
        rows = _points(run, key)
        plot.plot(
            [position(row) for row in rows],
            [row[key] for row in rows],
            label=run.label,
            color=f"C{number % 10}",
            linestyle=dashes[number // 10 % len(dashes)],
            # A line of one point would not be seen.
            marker="." if len(rows) < 20 else "",
        )
    plot.grid(alpha=0.3)
    # Where the shortest run would otherwise be squeezed against the edge.
    _set_scale(plot, "x", [position(run.history[-1]) for run in runs], wide=8)
    if key == "train_loss":
        _set_scale(plot, "y", [row[key] for run in runs for row in _points(run, key)], wide=3)


def _set_scale(plot: Any, name: str, values: list[float], wide: float) -> None:
    """Logarithmic, with plain numbers, if the largest value is `wide` times the smallest."""
    from matplotlib.ticker import LogLocator, NullFormatter

    finite = [value for value in values if isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) < wide * min(finite):
        return
    plot.set(**{f"{name}scale": "log"})
    axis = getattr(plot, f"{name}axis")
    axis.set_major_formatter("{x:g}")
    within_two_decades = max(finite) < 100 * min(finite)
    axis.set_minor_locator(LogLocator(subs=(2, 5) if within_two_decades else "all"))
    axis.set_minor_formatter("{x:g}" if within_two_decades else NullFormatter())
