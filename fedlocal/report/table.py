"""Tables of finished runs: what differed in their configuration, and how they ended."""

import csv
from math import nan
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
    """One row per run: what any of them was told on the command line, then its final metrics."""
    keys = list(dict.fromkeys(key for one in runs for key in overrides(one)))
    return [
        {"run": one.label}
        | {key: _setting(one, key) for key in keys}
        | {key: _result(one, key) for key in RESULTS}
        for one in runs
    ]


def labelled(runs: list[FinishedRun]) -> list[FinishedRun]:
    """The runs under labels that name what differs between them, where that tells them apart."""
    table = tabulate(runs)
    keys = [key for key in table[0] if key not in ("run", *RESULTS)]
    differing = [key for key in keys if len({str(row[key]) for row in table}) > 1]
    name = short_names(differing)
    labels = ["  ".join(f"{name[key]}={row[key]}" for key in differing) for row in table]
    if len(set(labels)) < len(runs):
        labels = [f"{one.label}  {label}" for one, label in zip(runs, labels, strict=True)]
    return [one._replace(label=label) for one, label in zip(runs, labels, strict=True)]


def short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each key, as long as no two are alike.

    >>> short_names(["partition.alpha", "K"])
    {'partition.alpha': 'alpha', 'K': 'K'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return dict(zip(keys, last if len(set(last)) == len(last) else keys, strict=True))


def overrides(run: FinishedRun) -> dict[str, str]:
    """What was given on the command line for this run, by key."""
    given = run.summary.get("overrides", [])
    # Hydra escapes the colons of a graph's settings.
    plain = [override.lstrip("+").replace("\\:", ":") for override in given]
    return dict(override.split("=", 1) for override in plain if "=" in override)


def _result(run: FinishedRun, key: str) -> Any:
    """A final metric; nan, and not "undefined", where the run diverged."""
    value = run.summary.get(key)
    defined = any(row.get(key) is not None for row in run.history)
    return nan if value is None and defined else value


def _setting(run: FinishedRun, key: str) -> str:
    """A key's value in this run: given, or the choice or value it has by default."""
    given, choices = overrides(run), run.summary.get("choices", {})
    if key in given or key in choices:
        return str(given.get(key, choices.get(key)))
    value = run.summary.get("config", {})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    # As on the command line, where a list has no spaces.
    return "" if value is None else str(value).replace(", ", ",")


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
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
