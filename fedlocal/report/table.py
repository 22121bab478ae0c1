"""Tables of finished runs: what differed in their configuration, and how they ended."""

import csv
from pathlib import Path
from typing import Any

from fedlocal.report.runs import FinishedRun

RESULTS = (
    "round",
    "local_steps",
    "train_loss",
    "test_loss",
    "test_accuracy",
    "uplink_bytes",
    "downlink_bytes",
    "sim_seconds",
    "wall_seconds",
)


def tabulate(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """One row per run: its overrides, one column each, then its final metrics."""
    keys = list(dict.fromkeys(key for finished in runs for key in overrides(finished)))
    return [
        {"run": finished.folder.name}
        | {key: overrides(finished).get(key, "") for key in keys}
        | {key: finished.summary.get(key) for key in RESULTS}
        for finished in runs
    ]


def overrides(finished: FinishedRun) -> dict[str, str]:
    """What was given on the command line for this run, by key."""
    given = finished.summary.get("overrides", [])
    return dict(override.lstrip("+").split("=", 1) for override in given if "=" in override)


def write_csv(table: list[dict[str, Any]], path: Path) -> None:
    """The table with full precision; an empty cell where a quantity is not defined."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for reading, four digits."""
    columns = list(table[0])
    rows = [[_short(row[column]) for column in columns] for row in table]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
