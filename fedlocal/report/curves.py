"""curves.png: loss and accuracy against rounds, bytes and simulated seconds."""

from pathlib import Path
from typing import Any

from fedlocal.report.runs import FinishedRun

AXES = (
    ("rounds", lambda row: row["round"]),
    ("megabytes, both ways", lambda row: (row["uplink_bytes"] + row["downlink_bytes"]) / 1e6),
    ("simulated seconds", lambda row: row["sim_seconds"]),
)


def draw(runs: list[FinishedRun], path: Path) -> None:
    """Draw all runs into one picture."""
    from matplotlib.figure import Figure

    metrics = [("train_loss", "train loss", "log"), ("test_accuracy", "test accuracy", "linear")]
    metrics = [m for m in metrics if any(row[m[0]] is not None for r in runs for row in r.history)]
    figure = Figure(figsize=(4.2 * len(AXES), 3.2 * len(metrics)), layout="constrained")
    grid: Any = figure.subplots(len(metrics), len(AXES), squeeze=False)
    for line, (key, title, scale) in zip(grid, metrics, strict=True):
        for plot, (label, position) in zip(line, AXES, strict=True):
            for finished in runs:
                rows = [row for row in finished.history if row[key] is not None]
                points = [row[key] for row in rows]
                plot.plot([position(row) for row in rows], points, label=finished.label)
            plot.set(xlabel=label, ylabel=title, yscale=scale)
            plot.grid(alpha=0.3)
    if len(runs) > 1:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=110)
