"""The files of a report: tables, curves, heat map, and on request a page."""

from pathlib import Path
from typing import Any

from fedlocal.report.curves import draw
from fedlocal.report.group_table import for_reading
from fedlocal.report.heat import heat_maps
from fedlocal.report.heat_png import draw_heat
from fedlocal.report.latex import latex
from fedlocal.report.report import Report
from fedlocal.report.table import markdown, write_csv


def write_report(report: Report, into: Path, html: bool = False) -> None:
    """Write what there is to say into a folder.

    Always summary, a row per run, and groups, a row per setting with means over seeds; target, what
    the target took, where there is a test accuracy. Each as .csv with full precision, .md and
    .tex. Besides, curves.png, heat.png if two keys vary, and report.html if asked for.
    """
    into.mkdir(parents=True, exist_ok=True)
    _write_table(report.run_table, report.run_table, into / "summary")
    _write_table(report.group_table, for_reading(report.group_table), into / "groups")
    if report.target is not None:
        _write_table(report.target_table, for_reading(report.target_table), into / "target")
    draw(report.groups, into / "curves.png")
    if report.heat is not None:
        maps = heat_maps(report.groups, report.heat, report.metric)
        draw_heat(maps, report.metric.replace("_", " "), into / "heat.png")
    if html:
        # It draws graphs from the strategies that have them, and so needs torch.
        from fedlocal.report.page import write_page

        write_page(report, into / "report.html")


def _write_table(full: list[dict[str, Any]], read: list[dict[str, Any]], stem: Path) -> None:
    write_csv(full, stem.with_suffix(".csv"))
    stem.with_suffix(".md").write_text(markdown(read), encoding="utf-8")
    stem.with_suffix(".tex").write_text(latex(read), encoding="utf-8")
