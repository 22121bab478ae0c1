"""Draws vrl_digits.png from the README's sweep.

OMP_NUM_THREADS=1 uv run fedlocal -m strategy=local_sgd,vrl_sgd H=1,10,50 partition=label_blocks \
    dataset=digits model=mlp K=8 hydra.sweep.dir=DIR
uv run python docs/pictures/vrl_digits.py DIR
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from fedlocal.report.runs import FinishedRun, read_runs

# With a synchronisation after every step the two are the same method.
LINES = {
    ("local_sgd", 1): ("every step", "black", "-"),
    ("local_sgd", 10): ("local SGD, H = 10", "C0", "-"),
    ("local_sgd", 50): ("local SGD, H = 50", "C0", "--"),
    ("vrl_sgd", 10): ("VRL-SGD, H = 10", "C1", "-"),
    ("vrl_sgd", 50): ("VRL-SGD, H = 50", "C1", "--"),
}


def main(folder: Path, picture: Path) -> None:
    """Train loss against what was sent, and against what that takes."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    megabytes, seconds = figure.subplots(1, 2, sharey=True)
    for run in read_runs([folder]):
        line = LINES.get((run.summary["choices"]["strategy"], run.summary["config"]["H"]))
        if line is not None:
            draw(megabytes, run, lambda row: row["uplink_bytes"] / 1e6, *line)
            draw(seconds, run, lambda row: row["sim_seconds"], *line)
    megabytes.set(xlabel="megabytes sent up", ylabel="train loss")
    seconds.set(xlabel="simulated seconds")
    for plot in (megabytes, seconds):
        plot.set(xscale="log", yscale="log")
        plot.xaxis.set_major_formatter("{x:g}")
        plot.yaxis.set_major_formatter("{x:g}")
        plot.grid(alpha=0.3)
    megabytes.legend(fontsize="small")
    figure.savefig(picture, dpi=110, metadata={"Software": None})


def draw(plot, run: FinishedRun, position, label: str, color: str, linestyle: str) -> None:
    """Draw one run's measured rounds."""
    rows = [row for row in run.history if row["train_loss"] is not None]
    x, y = [position(row) for row in rows], [row["train_loss"] for row in rows]
    plot.plot(x, y, label=label, color=color, linestyle=linestyle)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_suffix(".png"))
