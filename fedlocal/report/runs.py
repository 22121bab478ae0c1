"""Finished runs, read back from their folders."""

import csv
import json
from os.path import commonpath
from pathlib import Path
from typing import Any, NamedTuple


class FinishedRun(NamedTuple):
    """Results of one run.

    Attributes:
        folder: Path of the run's folder.
        label: Path below the folder that all runs have in common.
        history: Rows of metrics.csv; None where a cell is empty.
        summary: Contents of summary.json.
    """

    folder: Path
    label: str
    history: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def seed(self) -> int:
        """Seed of the run's random numbers."""
        return self.summary.get("seed", 0)


class Group(NamedTuple):
    """Runs of one configuration.

    Attributes:
        label: Settings that differ from those of the other groups.
        settings: Values of the overridden keys, without the seed; all groups have the same keys.
        runs: One run for each seed.
    """

    label: str
    settings: dict[str, str]
    runs: tuple[FinishedRun, ...]

    @property
    def size(self) -> int:
        """Number of seeds."""
        return len(self.runs)


def read_runs(folders: list[Path]) -> list[FinishedRun]:
    """Read all finished runs in or below the folders, in order of their paths.

    Raises:
        ValueError: There is no summary.json in or below the folders.
    """
    found = sorted(
        {path.parent.resolve() for folder in folders for path in folder.rglob("summary.json")},
        key=_natural_key,
    )
    if not found:
        searched = ", ".join(str(folder) for folder in folders)
        raise ValueError(
            f"no finished run in {searched}: no summary.json there or below; give the folder of a"
            " run or of a sweep"
        )
    common = commonpath([folder.parent for folder in found])
    return [_read(folder, str(folder.relative_to(common))) for folder in found]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a run's metrics.csv; None stands where a cell is empty."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _natural_key(path: Path) -> list[Any]:
    # Job folders are numbers: 2 comes before 10.
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]


def _read(folder: Path, label: str) -> FinishedRun:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return FinishedRun(folder, label, read_rows(folder), summary)


def _number(text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if text.isdigit() else float(text)
