"""Finished runs, read back from their folders."""

import csv
import json
from os.path import commonpath
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

    A label is the folder's path below what all have in common.

    Raises:
        ValueError: There is none; names what was looked for.
    """
    found = sorted(
        {path.parent.resolve() for folder in folders for path in folder.rglob("summary.json")},
        key=_natural,
    )
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise ValueError(
            f"no finished run in {looked}: no summary.json there or below; give the folder of a"
            " run or of a sweep"
        )
    common = commonpath([folder.parent for folder in found])
    return [_read(folder, str(folder.relative_to(common))) for folder in found]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv; None stands where a cell is empty."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [_numbers(row) for row in csv.DictReader(file)]


def _natural(path: Path) -> list[Any]:
    # Job folders are numbers: 2 comes before 10.
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]


def _read(folder: Path, label: str) -> FinishedRun:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return FinishedRun(folder, label, read_rows(folder), summary)


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    return {key: _number(value) if value else None for key, value in row.items()}


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)
