"""Page report.html: one file that holds everything and works offline."""

import json
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

from fedlocal.report.graphs import graphs_of
from fedlocal.report.groups import varied_settings
from fedlocal.report.page_curves import curves_data
from fedlocal.report.page_data import (
    graph_data,
    heat_data,
    partition_data,
    table_data,
    target_data,
)
from fedlocal.report.report import Report

PARTS = Path(__file__).with_name("page")
# In loading order: page.js starts the page.
SCRIPTS = ("common", "curves", "target", "heat", "partitions", "graphs", "page")


def check_plotly() -> None:
    """Refuse to make a page without plotly.

    Raises:
        ValueError: plotly is not installed.
    """
    try:
        import plotly  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError("--html needs plotly: pip install 'fedlocal[report]'") from error


def write_page(report: Report, path: Path) -> None:
    """Write the page; it holds plotly.js (MIT licence, about 5 MB) and fetches nothing."""
    from plotly.offline import get_plotlyjs

    page = Template((PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        style=(PARTS / "page.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        # A label must not end the script that holds it.
        data=json.dumps(_without_nan(page_data(report)), allow_nan=False).replace("<", "\\u003c"),
        script="\n".join((PARTS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
    )
    path.write_text(page, encoding="utf-8")


def page_data(report: Report) -> dict[str, Any]:
    """Return the values that the page's scripts draw."""
    graphs = graphs_of(report.groups)
    lost = [f"the graph of {label} is not drawn: {why}" for label, why in graphs.lost.items()]
    alike = [key for key in report.groups[0].settings if key not in varied_settings(report.groups)]
    return {
        "about": _about(report),
        "shared": _shared(report, alike),
        "notes": report.notes + lost,
        "curves": curves_data(report.groups),
        "target": target_data(report, alike),
        "heat": heat_data(report),
        "partitions": partition_data(report.runs),
        "graphs": graph_data(graphs.pictures),
        "groups": table_data(report.group_table, alike) | {"caption": _caption(report)},
        "runs": table_data(report.run_table, alike),
    }


def _without_nan(value: Any) -> Any:
    """Return the value with None for numbers that JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _about(report: Report) -> str:
    runs, groups = len(report.runs), len(report.groups)
    settings = f", {groups} setting{'s' * (groups > 1)}" if groups < runs else ""
    return f"{runs} run{'s' * (runs > 1)}{settings}"


def _shared(report: Report, alike: list[str]) -> str:
    """Return the settings that all groups share, in a line."""
    settings = report.groups[0].settings
    same = [f"{key}={settings[key]}" for key in alike if settings[key]]
    start = "alike in all: " if len(report.runs) > 1 else ""
    return start + "  ".join(same) if same else ""


def _caption(report: Report) -> str:
    several = any(group.size > 1 for group in report.groups)
    means = "mean ± standard deviation (of the sample, n - 1) over n seeds" if several else ""
    start = f"At the end of the runs; {means}." if means else "At the end of the runs."
    return f"{start} A click on a heading sorts."
