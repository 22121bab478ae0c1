"""The page's tables as plain values."""

from typing import Any

from fedlocal.report.group_table import for_reading
from fedlocal.report.latex import is_numeric
from fedlocal.report.settings import short_names


def table_data(table: list[dict[str, Any]], said: list[str]) -> dict[str, Any]:
    """Columns, and rows of cells: what is shown, and what the column is sorted by.

    Args:
        table: A dict per row.
        said: Columns that are left out, since the page says elsewhere what is in them.
    """
    read = for_reading(table)
    columns = [key for key in read[0] if key not in said]
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
