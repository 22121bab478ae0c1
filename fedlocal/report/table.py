"""Tables of finished runs: what differed in their configuration, and how they ended."""

import csv
from math import nan
from pathlib import Path
from typing import Any

from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import as_told, told_keys

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


def results_of(runs: list[FinishedRun]) -> tuple[str, ...]:
    """The columns of results; with the clients' own loss where nobody could evaluate a model."""
    evaluated = any(result(run, key) is not None for run in runs for key in RESULTS[2:5])
    return RESULTS if evaluated else (*RESULTS[:2], "local_loss", *RESULTS[2:])


def tabulate(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """One row per run: what any of them was told on the command line, then its final metrics."""
    keys = told_keys(runs)
    return [
        {"run": one.label}
        | {key: as_told(one, key) for key in keys}
        | {key: result(one, key) for key in results_of(runs)}
        for one in runs
    ]


def result(run: FinishedRun, key: str) -> Any:
    """A run's final metric; nan, and not "undefined", where the run diverged."""
    value = run.summary.get(key)
    defined = any(row.get(key) is not None for row in run.history)
    return nan if value is None and defined else value


def write_csv(table: list[dict[str, Any]], path: Path) -> None:
    """The table with full precision; an empty cell where a quantity is not defined."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for reading, four digits."""
    columns = list(table[0])
    rows = [[short(row[column]).replace("|", "\\|") for column in columns] for row in table]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def short(value: Any) -> str:
    """A cell for reading: four digits, nothing where a quantity is not defined."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
