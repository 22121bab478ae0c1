"""The page's other pictures as plain values."""

from math import isfinite
from typing import Any

import numpy as np

from fedlocal.report.graphs import GraphPicture
from fedlocal.report.heat import HeatMap, heat_maps
from fedlocal.report.holdings import MOST_PICTURES, Holdings, holdings_of
from fedlocal.report.page_table import table_data
from fedlocal.report.report import Report
from fedlocal.report.runs import FinishedRun
from fedlocal.report.series import AXES
from fedlocal.report.table import RESULTS

NAMES = {axis.key: axis.label for axis in AXES} | {"bytes": "bytes, both ways"}
GAP = (
    "The spectral gap is the share of the nodes' disagreement that a round of mixing removes: 1 for"
    " all of it, 0 for none."
)


def target_data(report: Report, alike: list[str]) -> dict[str, Any] | None:
    """Bars and table; None without a test accuracy."""
    if report.target is None:
        return None
    named = [
        {"label": group.label} | {key: value for key, value in row.items() if key in _shown(row)}
        for group, row in zip(report.groups, report.target_table, strict=True)
    ]
    why = (
        "given with --target"
        if report.target_given
        else "the best that at least half of the settings reach with all their seeds, rounded down"
        " to a whole percent"
    )
    return {
        "groups": named,
        "costs": [{"key": key, "label": label} for key, label in NAMES.items()],
        "table": table_data(report.target_table, [*alike, "target"]),
        "caption": (
            f"Until the end of the first evaluated round with a test accuracy of"
            f" {report.target:g} ({why}). Mean over the seeds that reach it, with their standard"
            " deviation; reached says how many of the n seeds do. A cell is empty where none does."
        ),
    }


def heat_data(report: Report) -> dict[str, Any] | None:
    """The maps of every final result; None unless two keys vary."""
    keys = report.heat
    if keys is None:
        return None
    names = dict.fromkeys((report.metric, "test_accuracy", "train_loss", *RESULTS))
    maps = {name: heat_maps(report.groups, keys, name) for name in names}
    found = {name: some for name, some in maps.items() if any(map(_filled, some))}
    return {
        "chosen": report.metric,
        "metrics": [{"key": name, "label": name.replace("_", " ")} for name in found],
        "maps": {name: [_map(one) for one in some] for name, some in found.items()},
    }


def partition_data(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """The distinct partitions, as many as a list to choose from can have."""
    found = holdings_of(runs)
    left = len(found) - MOST_PICTURES
    more = f" {left} further partitions are left out of this page." if left > 0 else ""
    return [_partition(one, more) for one in found[:MOST_PICTURES]]


def graph_data(pictures: list[GraphPicture]) -> list[dict[str, Any]]:
    """The distinct graphs."""
    return [
        {
            "title": one.title,
            "nodes": one.nodes.round(4).tolist(),
            "links": one.links.tolist(),
            "directed": one.directed,
            "auxiliary": one.auxiliary,
            "caption": ". ".join(filter(None, (one.title, one.note, _users(one)))) + f". {GAP}",
        }
        for one in pictures
    ]


def finite(value: Any) -> Any:
    """The value with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    return ("n", "reached", *NAMES, *(f"{key}_std" for key in NAMES))


def _filled(one: HeatMap) -> bool:
    return any(cell is not None for row in one.cells for cell in row)


def _map(one: HeatMap) -> dict[str, Any]:
    cells = [[cell and cell._asdict() for cell in row] for row in one.cells]
    return one._asdict() | {"cells": cells}


def _partition(one: Holdings, more: str) -> dict[str, Any]:
    shared = None if one.shared is None else np.round(one.shared, 4).tolist()
    several = (
        "No two clients hold the same example."
        if shared is None
        else f"{one.copies} examples are stored beyond the first copy of each."
    )
    note = f" {one.note}." if one.note else ""
    return {
        "label": one.label,
        "clients": one.clients.tolist(),
        "total": one.total,
        "counts": one.counts.tolist(),
        "shared": shared,
        "caption": f"{one.total} clients. {several}{note}{more}",
    }


def _users(one: GraphPicture) -> str:
    return "Used by " + "; ".join(one.groups) if len(one.groups) > 1 else ""
