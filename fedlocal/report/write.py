"""summary.csv, summary.md and curves.png over finished runs."""

from pathlib import Path
from typing import Any

from fedlocal.report.curves import draw
from fedlocal.report.runs import read_runs
from fedlocal.report.table import labelled, markdown, tabulate, write_csv


def write_report(folders: list[Path], into: Path) -> list[dict[str, Any]]:
    """Read the runs in or below `folders`, write the three files, return the table."""
    runs = read_runs(folders)
    table = tabulate(runs)
    into.mkdir(parents=True, exist_ok=True)
    write_csv(table, into / "summary.csv")
    (into / "summary.md").write_text(markdown(table))
    draw(labelled(runs), into / "curves.png")
    return table
