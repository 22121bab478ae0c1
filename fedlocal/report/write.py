"""Files of a report: tables, curves, heat map and, on request, a page."""

from pathlib import Path

from fedlocal.report.curves import draw
from fedlocal.report.heat_maps import heat_maps
from fedlocal.report.heat_png import draw_heat
from fedlocal.report.report import Report
from fedlocal.report.tables import for_reading, short, write_table


def write_report(report: Report, into: Path, html: bool = False) -> None:
    """Write the files of a report into a folder.

    These are summary, a row per run, and groups, a row per setting with means over seeds; target,
    the cost of the target accuracy, where there is a test accuracy. Each is written as .csv with
    full precision, .md and .tex. Besides, curves.png, heat.png if two keys vary, and on request
    report.html.
    """
    into.mkdir(parents=True, exist_ok=True)
    write_table(report.run_table, report.run_table.map(short), into / "summary")
    write_table(report.group_table, for_reading(report.group_table), into / "groups")
    if report.target_table is not None:
        write_table(report.target_table, for_reading(report.target_table), into / "target")
    draw(report.groups, into / "curves.png")
    if report.heat is not None:
        maps = heat_maps(report.groups, report.heat, report.metric)
        draw_heat(maps, report.metric.replace("_", " "), into / "heat.png")
    if html:
        # Its graphs are built from their strategies, which need torch.
        from fedlocal.report.page import write_page

        write_page(report, into / "report.html")
