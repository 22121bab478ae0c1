"""Writer of metrics.csv: a row per round, written as soon as the round is over."""

import csv
from pathlib import Path
from typing import Any


class CsvTracker:
    """Tracker that writes rows to a file; a cell is empty where a quantity is not defined."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None

    def __enter__(self) -> "CsvTracker":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def log(self, row: dict[str, Any]) -> None:
        """Append one round. The first row is the header; see `rounds/metrics.py`."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, fieldnames=list(row))
            self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()
