"""Heat maps over two swept keys: a final metric, averaged over seeds."""

from math import isnan
from typing import Any, NamedTuple

from fedlocal.report.group_table import SPREAD, mean_and_spread
from fedlocal.report.groups import Group, varied
from fedlocal.report.settings import labels, short_names
from fedlocal.report.table import result

# Of two keys that vary, these make the map's rows and columns.
USUAL = ("K", "H")
# A search over real numbers has a cell or a map for each run; that is no picture.
MOST_SIDE = 40
MOST_MAPS = 40


class Cell(NamedTuple):
    """A group's final metric.

    Attributes:
        value: Mean over the seeds; nan where one diverged.
        text: What to write into the cell.
        about: The same with the group, the deviation and n.
    """

    value: float
    text: str
    about: str


class HeatMap(NamedTuple):
    """title: What else was set. cells: [rows][columns], None without a run."""

    title: str
    row_key: str
    column_key: str
    rows: list[str]
    columns: list[str]
    cells: list[list[Cell | None]]


def heat_keys(groups: list[Group], wanted: str | None) -> tuple[str, str] | None:
    """The keys of rows and columns: those wanted, K and H, or the two that vary most.

    Args:
        groups: All of them.
        wanted: "KEY,KEY" or None.

    Raises:
        ValueError: The wanted ones are not two of those that vary.
    """
    keys = varied(groups)
    if wanted is not None:
        return _wanted(wanted, keys)
    if len(keys) < 2:
        return None
    if all(key in keys for key in USUAL):
        return USUAL
    count = {key: len({group.settings[key] for group in groups}) for key in keys}
    most = sorted(keys, key=lambda key: -count[key])[:2]
    first, second = sorted(most, key=keys.index)
    return first, second


def heat_maps(groups: list[Group], keys: tuple[str, str], metric: str) -> list[HeatMap]:
    """A map for each setting of the keys that are neither of the two."""
    others = [{k: v for k, v in group.settings.items() if k not in keys} for group in groups]
    titles = labels(others)
    rows, columns = (_in_order([group.settings[key] for group in groups]) for key in keys)
    name = short_names(list(keys))
    maps: list[HeatMap] = []
    for title in dict.fromkeys(titles):
        some = [group for group, other in zip(groups, titles, strict=True) if other == title]
        cells = _cells(some, keys, rows, columns, metric)
        shown = title if len(set(titles)) > 1 else ""
        maps.append(HeatMap(shown, name[keys[0]], name[keys[1]], rows, columns, cells))
    return maps


def too_large(groups: list[Group], keys: tuple[str, str]) -> str:
    """Why maps over these keys would be no picture; "" if they are one."""
    rows, columns = (len({group.settings[key] for group in groups}) for key in keys)
    others = {str({k: v for k, v in g.settings.items() if k not in keys}) for g in groups}
    if max(rows, columns) <= MOST_SIDE and len(others) <= MOST_MAPS:
        return ""
    return (
        f"{len(others)} heat maps of {rows} x {columns} over {', '.join(keys)} are too many to"
        f" look at; at most {MOST_MAPS} of {MOST_SIDE} x {MOST_SIDE} are drawn"
    )


def default_metric(groups: list[Group]) -> str:
    """The final test accuracy; the train loss or the clients' own where there is none."""
    runs = [run for group in groups for run in group.runs]
    metrics = "test_accuracy", "train_loss", "local_loss"
    defined = (key for key in metrics if any(result(run, key) is not None for run in runs))
    return next(defined, "train_loss")


def _wanted(wanted: str, keys: list[str]) -> tuple[str, str]:
    full = {short: key for key, short in short_names(keys).items()} | {key: key for key in keys}
    given = [full.get(part.strip(), "") for part in wanted.split(",")]
    if len(given) != 2 or not all(given) or given[0] == given[1]:
        raise ValueError(
            f"--heat must be two of the keys that differ between the runs, KEY,KEY, got {wanted!r};"
            f" they are {', '.join(keys) or 'none'}"
        )
    return given[0], given[1]


def _cells(
    groups: list[Group], keys: tuple[str, str], rows: list[str], columns: list[str], metric: str
) -> list[list[Cell | None]]:
    at = {tuple(group.settings[key] for key in keys): _cell(group, metric) for group in groups}
    return [[at.get((row, column)) for column in columns] for row in rows]


def _cell(group: Group, metric: str) -> Cell | None:
    found = mean_and_spread("value", [result(run, metric) for run in group.runs])
    value: Any = found["value"]
    if value is None:
        return None
    spread = found["value" + SPREAD]
    about = f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}, n={group.size}"
    text = "diverged" if isnan(value) else f"{value:#.3g}".rstrip(".")
    return Cell(value, text, f"{group.label}: {about}")


def _in_order(values: list[str]) -> list[str]:
    """Numbers by size, anything else as it came; nothing given goes first."""
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct, key=lambda value: float(value or "-inf"))
    except ValueError:
        return distinct
