"""Tables and pictures of the page as plain values."""

from typing import Any

import numpy as np
import pandas as pd

from fedlocal.report.graphs import GraphPicture
from fedlocal.report.heat_maps import HeatMap, heat_maps
from fedlocal.report.partition_summary import (
    MOST_PICTURES,
    PartitionSummary,
    summarise_partitions,
)
from fedlocal.report.report import Report
from fedlocal.report.runs import FinishedRun
from fedlocal.report.series import AXES
from fedlocal.report.settings import short_names
from fedlocal.report.tables import DEVIATION, RESULTS, for_reading, is_numeric

NAMES = {axis.key: axis.label for axis in AXES} | {"bytes": "bytes, both ways"}
GAP = (
    "The spectral gap is the share of the nodes' disagreement that a round of mixing removes: 1 for"
    " all of it, 0 for none."
)


def table_data(table: pd.DataFrame, left_out: list[str]) -> dict[str, Any]:
    """Return a table's columns, and rows of cells with text and sort key.

    Args:
        table: Row per run or group.
        left_out: Columns that the page shows elsewhere.
    """
    read = for_reading(table)
    read = read.drop(columns=left_out, errors="ignore")
    names = short_names(list(read))
    return {
        "columns": [
            {"label": names[str(key)].replace("_", " "), "number": is_numeric(column)}
            for key, column in read.items()
        ],
        "rows": [
            [{"text": text, "value": _sort_key(value)} for text, value in zip(*pair, strict=True)]
            for pair in zip(read.to_numpy(), table[list(read)].to_numpy(), strict=True)
        ],
    }


def target_data(report: Report, alike: list[str]) -> dict[str, Any] | None:
    """Return bars and table of the target; None without a test accuracy."""
    if report.target_table is None:
        return None
    shown = ["n", "reached", *NAMES, *(f"{key}{DEVIATION}" for key in NAMES)]
    rows = report.target_table.loc[:, shown].to_dict("records")
    why = (
        "given with --target"
        if report.target_given
        else "the best that at least half of the settings reach with all their seeds, rounded down"
        " to a whole percent"
    )
    return {
        "groups": [
            {"label": group.label} | row for group, row in zip(report.groups, rows, strict=True)
        ],
        "costs": [{"key": key, "label": label} for key, label in NAMES.items()],
        "table": table_data(report.target_table, [*alike, "target"]),
        "caption": (
            f"Until the end of the first evaluated round with a test accuracy of"
            f" {report.target:g} ({why}). Mean over the seeds that reach it, with their standard"
            " deviation; reached says how many of the n seeds do. A cell is empty where none does."
        ),
    }


def heat_data(report: Report) -> dict[str, Any] | None:
    """Return the maps of every final result; None unless two keys vary."""
    if report.heat is None:
        return None
    names = dict.fromkeys((report.metric, "test_accuracy", "train_loss", *RESULTS))
    maps = {name: heat_maps(report.groups, report.heat, name) for name in names}
    found = {name: some for name, some in maps.items() if any(map(_has_cells, some))}
    return {
        "chosen": report.metric,
        "metrics": [{"key": name, "label": name.replace("_", " ")} for name in found],
        "maps": {name: [_map(one) for one in some] for name, some in found.items()},
    }


def partition_data(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """Return the distinct partitions, at most MOST_PICTURES."""
    found = summarise_partitions(runs)
    left = len(found) - MOST_PICTURES
    more = f" {left} further partitions are left out of this page." if left > 0 else ""
    return [_partition(one, more) for one in found[:MOST_PICTURES]]


def graph_data(pictures: list[GraphPicture]) -> list[dict[str, Any]]:
    """Return the distinct graphs."""
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


def _sort_key(value: Any) -> Any:
    """Return numbers, settings among them, as numbers; None goes last."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except ValueError:
        return value


def _has_cells(one: HeatMap) -> bool:
    return any(cell is not None for row in one.cells for cell in row)


def _map(one: HeatMap) -> dict[str, Any]:
    cells = [[cell and cell._asdict() for cell in row] for row in one.cells]
    return one._asdict() | {"cells": cells}


def _partition(one: PartitionSummary, more: str) -> dict[str, Any]:
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
