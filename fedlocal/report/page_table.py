"""The page's tables as plain values."""

from typing import Any

from fedlocal.report.group_table import for_reading
from fedlocal.report.latex import is_numeric
from fedlocal.report.settings import short_names


def table_data(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns, and rows of cells: what is shown, and what the column is sorted by."""
    read = for_reading(table)
    columns = list(read[0])
    names = short_names(columns)
    return {
        "columns": [
            {"label": names[key].replace("_", " "), "number": is_numeric(read, key)}
            for key in columns
        ],
        "rows": [
            [{"text": shown[key], "value": _sorted_by(row[key])} for key in columns]
            for row, shown in zip(table, read, strict=True)
        ],
    }


def _sorted_by(value: Any) -> Any:
    """Numbers as numbers, settings among them; None goes last."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except ValueError:
        return value
