"""Picture curves.png: loss and accuracy against rounds, steps, bytes and simulated seconds."""

from math import ceil, isfinite
from pathlib import Path
from typing import Any

from fedlocal.report.runs import Group
from fedlocal.report.series import AXES, METRICS, Axis, Series, metrics_of, series

DRAWN = ("train_loss", "test_accuracy")
LEGEND_CHARACTERS = 200
BAND = "line: mean over n seeds; band: one standard deviation to either side"


def draw(groups: list[Group], path: Path) -> None:
    """Draw all groups into one picture, with their labels in a legend."""
    from matplotlib.figure import Figure

    known = metrics_of(groups)
    drawn = [key for key in DRAWN if key in known] or ["local_loss"]
    banded = any(group.size > 1 for group in groups)
    lines = len(groups) > 1 or banded
    widest = max(len(group.label) for group in groups) + 12
    columns = max(1, min(len(groups), LEGEND_CHARACTERS // widest))
    legend = (0.2 * (ceil(len(groups) / columns) + banded) + 0.2) * lines
    figure = Figure(figsize=(3.8 * len(AXES), 3.0 * len(drawn) + 0.6 + legend))
    grid: Any = figure.subplots(
        len(drawn), len(AXES), squeeze=False, sharex="col", sharey="row",
        gridspec_kw=_margins(figure, left=0.75, right=0.15, top=0.1, bottom=0.55 + legend),
    )  # fmt: skip
    for plots, key in zip(grid, drawn, strict=True):
        plots[0].set_ylabel(METRICS[key])
        for plot, axis in zip(plots, AXES, strict=True):
            _plot(plot, groups, key, axis)
    for plot, axis in zip(grid[-1], AXES, strict=True):
        plot.set_xlabel(axis.label)
    if lines:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="lower center",
            ncols=columns,
            fontsize="small",
            title=BAND if banded else None,
            title_fontsize="small",
        )
    figure.savefig(path, dpi=110)


def _margins(figure: Any, **inches: float) -> dict[str, float]:
    """Return the plots' edges as shares of the figure; tick labels have room for six characters.

    A layout engine would take half a second to find them.
    """
    width, height = figure.get_size_inches()
    return {
        "left": inches["left"] / width,
        "right": 1 - inches["right"] / width,
        "bottom": inches["bottom"] / height,
        "top": 1 - inches["top"] / height,
        "wspace": 0.06,
        "hspace": 0.08,
    }


def _plot(plot: Any, groups: list[Group], key: str, axis: Axis) -> None:
    # Ten colours, then the same ones dashed, and so on.
    dashes = ("-", "--", ":", "-.")
    drawn = [series(group, key, axis) for group in groups]
    for number, (group, one) in enumerate(zip(groups, drawn, strict=True)):
        colour = f"C{number % 10}"
        plot.plot(
            one.x,
            one.mean,
            label=f"{group.label}  (n={group.size})" if group.size > 1 else group.label,
            color=colour,
            linestyle=dashes[number // 10 % len(dashes)],
            # A line of one point would not be seen.
            marker="." if len(one.x) < 20 else "",
        )
        plot.fill_between(one.x, *_band(one), color=colour, alpha=0.2, linewidth=0)
    plot.grid(alpha=0.3)
    # Where the shortest run would otherwise be squeezed against the edge.
    _set_scale(plot, "x", [one.x[-1] for one in drawn if one.x], wide=8)
    if key == "train_loss":
        _set_scale(plot, "y", [value for one in drawn for value in one.mean], wide=3)


def _band(one: Series) -> tuple[list[float], list[float]]:
    """Return lower and upper edge of the band; the line itself where there is none."""
    spread = one.deviation or [0.0] * len(one.mean)
    pairs = list(zip(one.mean, spread, strict=True))
    return [mean - width for mean, width in pairs], [mean + width for mean, width in pairs]


def _set_scale(plot: Any, name: str, values: list[float], wide: float) -> None:
    """Make an axis logarithmic if the largest value is at least `wide` times the smallest."""
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
