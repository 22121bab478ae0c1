"""Heat maps of a final metric, averaged over seeds, over two keys of a sweep."""

from math import isnan
from typing import NamedTuple

from fedlocal.report.groups import varied_settings
from fedlocal.report.runs import Group
from fedlocal.report.settings import labels, short_names
from fedlocal.report.tables import DEVIATION, means, result

# Of two keys that vary, these make the map's rows and columns.
USUAL = ("K", "H")
# A search over real numbers has a cell or a map for each run; that is no picture.
MOST_SIDE = 40
MOST_MAPS = 40


class Cell(NamedTuple):
    """Final metric of a group.

    Attributes:
        value: Mean over the seeds; nan where one diverged.
        text: Mean with three digits, or "diverged".
        about: Group, mean, deviation and number of seeds.
    """

    value: float
    text: str
    about: str


class HeatMap(NamedTuple):
    """Metric over two keys.

    Attributes:
        title: Settings of the other keys.
        row_key: Short name of the rows' key.
        column_key: Short name of the columns' key.
        rows: Values of the row key.
        columns: Values of the column key.
        cells: Metrics by row and column; None without a run.
    """

    title: str
    row_key: str
    column_key: str
    rows: list[str]
    columns: list[str]
    cells: list[list[Cell | None]]


def heat_keys(groups: list[Group], given: str | None) -> tuple[str, str] | None:
    """Return the keys of rows and columns: those given, else K and H, else the two that vary most.

    Args:
        groups: All groups of a report.
        given: "KEY,KEY" or None.

    Returns:
        Two keys; None where none are given and fewer than two vary.

    Raises:
        ValueError: The given ones are not two of those that vary.
    """
    keys = varied_settings(groups)
    if given is not None:
        return _parse_keys(given, keys)
    if len(keys) < 2:
        return None
    if all(key in keys for key in USUAL):
        return USUAL
    count = {key: len({group.settings[key] for group in groups}) for key in keys}
    most = sorted(keys, key=lambda key: -count[key])[:2]
    first, second = sorted(most, key=keys.index)
    return first, second


def heat_maps(groups: list[Group], keys: tuple[str, str], metric: str) -> list[HeatMap]:
    """Make a map for each setting of the other keys."""
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


def size_problem(groups: list[Group], keys: tuple[str, str]) -> str:
    """Return why maps over these keys are too large to draw; "" if they are not."""
    rows, columns = (len({group.settings[key] for group in groups}) for key in keys)
    others = {str({k: v for k, v in g.settings.items() if k not in keys}) for g in groups}
    if max(rows, columns) <= MOST_SIDE and len(others) <= MOST_MAPS:
        return ""
    return (
        f"{len(others)} heat maps of {rows} x {columns} over {', '.join(keys)} are too many to"
        f" look at; at most {MOST_MAPS} of {MOST_SIDE} x {MOST_SIDE} are drawn"
    )


def default_metric(groups: list[Group]) -> str:
    """Return the first final metric that is defined: accuracy, train loss, clients' loss."""
    runs = [run for group in groups for run in group.runs]
    metrics = "test_accuracy", "train_loss", "local_loss"
    defined = (key for key in metrics if any(result(run, key) is not None for run in runs))
    return next(defined, "train_loss")


def _parse_keys(text: str, keys: list[str]) -> tuple[str, str]:
    full = {short: key for key, short in short_names(keys).items()} | {key: key for key in keys}
    given = [full.get(part.strip(), "") for part in text.split(",")]
    if len(given) != 2 or not all(given) or given[0] == given[1]:
        raise ValueError(
            f"--heat must be two of the keys that differ between the runs, KEY,KEY, got {text!r};"
            f" they are {', '.join(keys) or 'none'}"
        )
    return given[0], given[1]


def _cells(
    groups: list[Group], keys: tuple[str, str], rows: list[str], columns: list[str], metric: str
) -> list[list[Cell | None]]:
    at = {tuple(group.settings[key] for key in keys): _cell(group, metric) for group in groups}
    return [[at.get((row, column)) for column in columns] for row in rows]


def _cell(group: Group, metric: str) -> Cell | None:
    found = means({"": [result(run, metric) for run in group.runs]})
    value, deviation = found[""], found[DEVIATION]
    if value is None:
        return None
    about = f"{value:.4g}"
    if deviation is not None:
        about += f" ± {deviation:.2g}, n={group.size}"
    text = "diverged" if isnan(value) else f"{value:#.3g}".rstrip(".")
    return Cell(value, text, f"{group.label}: {about}")


def _in_order(values: list[str]) -> list[str]:
    """Sort numbers by size, with an empty value first; keeps the order of anything else."""
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct, key=lambda value: float(value or "-inf"))
    except ValueError:
        return distinct
