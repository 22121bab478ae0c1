"""Tables of runs and rounds on the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from fedlocal.report.settings import short_names

# Key in the row: heading, format.
COLUMNS = {
    # Shown without a train loss, which data or parts of models on other machines preclude.
    "local_loss": ("local loss", "{:.4g}".format),
    "train_loss": ("train loss", "{:.4g}".format),
    "test_accuracy": ("test acc", "{:.4f}".format),
    "uplink_bytes": ("up", decimal),
    "downlink_bytes": ("down", decimal),
    "sim_seconds": ("sim s", "{:.4g}".format),
    "wall_seconds": ("wall s", "{:.3g}".format),
}


def show(table: list[dict[str, Any]], folder: Path) -> None:
    """Print the runs of a sweep and the folder of their report."""
    settings = [key for key in table[0] if key not in (*COLUMNS, "test_loss")]
    # The caption has the settings that all runs share.
    same = [key for key in settings if len({str(row[key]) for row in table}) == 1]
    shared = " ".join(f"{key}={table[0][key]}" for key in same)
    _print(table, [key for key in settings if key not in same])
    print(f"{len(table)} run{'s' * (len(table) > 1)}, {shared} -> {folder}")


def show_rounds(history: list[dict[str, Any]], count: int = 10) -> None:
    """Print about `count` evaluated rounds of a run, evenly spaced, the last among them.

    Without any evaluated round it prints about `count` of all rounds.
    """
    evaluated = [row for row in history if row["train_loss"] is not None] or history
    stride = max(1, len(evaluated) // count)
    _print(evaluated[::-1][::stride][::-1], ["round", "local_steps"])


def _print(rows: list[dict[str, Any]], settings: list[str]) -> None:
    shown = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    if "train_loss" in shown and "local_loss" in shown:
        shown.remove("local_loss")
    table = Table(box=None, header_style="bold")
    # In a narrow terminal a run's long path goes over several lines, and numbers stay whole.
    for key, heading in short_names(settings).items():
        least = None if key == "run" else max(len(str(row[key])) for row in rows)
        table.add_column(heading, justify="right", overflow="fold", min_width=least)
    for key in shown:
        table.add_column(COLUMNS[key][0], justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row[key]) for key in settings]
        table.add_row(*cells, *(_cell(key, row[key]) for key in shown))
    console = Console()
    # Piped into a file a table must not be cut to eighty columns.
    (console if console.is_terminal else Console(width=200)).print(table)


def _cell(key: str, value: Any) -> str:
    return "" if value is None else COLUMNS[key][1](value)
