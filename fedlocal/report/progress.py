"""Progress bar of a run. It is silent where the output is not a terminal."""

from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column


class ProgressBar:
    """Progress bar with loss, accuracy, bytes and rounds per second."""

    def __init__(self, name: str, rounds: int, console: Console | None = None) -> None:
        console = console or Console()
        # The other columns take 76 characters.
        room = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - 76))
        self._bar = Bar(
            TextColumn("{task.description}", table_column=room),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            # A line with the result follows.
            transient=True,
        )
        self._task = self._bar.add_task(name, total=rounds, metrics="")

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def log(self, row: dict[str, Any]) -> None:
        """Show one finished round."""
        self._bar.update(self._task, advance=1, metrics=status(row))


def status(row: dict[str, Any]) -> str:
    """Return a line with a round's loss and accuracy, if defined, bytes and rate."""
    moved = row["uplink_bytes"] + row["downlink_bytes"]
    parts = [
        f"{label} {row[key]:.4g}"
        for label, key in (("loss", "train_loss"), ("acc", "test_accuracy"))
        if row[key] is not None
    ]
    rate = row["round"] / max(row["wall_seconds"], 1e-9)
    return "  ".join([*parts, decimal(moved), f"{rate:.1f} rounds/s"])
