"""Finished runs, read back from their folders."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple


class FinishedRun(NamedTuple):
    """A run's folder, a label that tells it from its neighbours, its rows and its summary."""

    folder: Path
    label: str
    history: list[dict[str, Any]]
    summary: dict[str, Any]


def read_runs(folders: list[Path]) -> list[FinishedRun]:
    """All finished runs in or below the folders, in order of their paths.

    Raises:
        ValueError: There is none; names what was looked for.
    """
    found = sorted(
        {path.parent for folder in folders for path in folder.rglob("summary.json")}, key=_natural
    )
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"no finished run in {looked}: no summary.json there or below")
    return [_read(folder) for folder in found]


def _natural(path: Path) -> list[Any]:
    # Job folders are numbers: 2 comes before 10.
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]


def _read(folder: Path) -> FinishedRun:
    summary = json.loads((folder / "summary.json").read_text())
    with (folder / "metrics.csv").open(newline="") as file:
        history = [_numbers(row) for row in csv.DictReader(file)]
    return FinishedRun(folder, summary.get("name", folder.name), history, summary)


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    return {key: float(value) if value else None for key, value in row.items()}
