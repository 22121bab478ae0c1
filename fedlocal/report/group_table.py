"""Tables of groups: means over seeds, with their spread."""

from math import isfinite, nan
from statistics import fmean
from typing import Any

from fedlocal.report.groups import Group
from fedlocal.report.series import spread_of
from fedlocal.report.table import result, results_of, short

Row = dict[str, Any]
SPREAD = "_std"


def tabulate_groups(groups: list[Group]) -> list[Row]:
    """One row per group: its settings, its seeds, and each result with its deviation."""
    results = results_of([run for group in groups for run in group.runs])
    return [
        {**group.settings, "n": group.size, "seeds": seeds(group)}
        | joined(
            [mean_and_spread(key, [result(run, key) for run in group.runs]) for key in results]
        )
        for group in groups
    ]


def mean_and_spread(key: str, values: list[Any]) -> Row:
    """Mean and sample standard deviation in two columns, both None where a value is missing.

    >>> mean_and_spread("loss", [1.0, 3.0])
    {'loss': 2.0, 'loss_std': 1.4142135623730951}
    """
    if not values or any(value is None for value in values):
        return {key: None, key + SPREAD: None}
    if not all(isfinite(value) for value in values):
        # A seed that diverged has no number, and so the mean has none.
        return {key: nan, key + SPREAD: nan if len(values) > 1 else None}
    mean = fmean(values)
    whole = all(isinstance(value, int) for value in values) and mean.is_integer()
    return {key: int(mean) if whole else mean, key + SPREAD: spread_of(values)}


def for_reading(table: list[Row]) -> list[Row]:
    """Each mean and its deviation in one column; columns without a value are left out."""
    spreads = {key + SPREAD for key in table[0]}
    shown = [key for key in table[0] if key not in spreads]
    read = [{key: _with_spread(row, key) for key in shown} for row in table]
    return [{key: row[key] for key in row if any(one[key] for one in read)} for row in read]


def joined(parts: list[Row]) -> Row:
    """The parts as one row."""
    return {key: value for part in parts for key, value in part.items()}


def seeds(group: Group) -> str:
    """The seeds of a group's runs."""
    return " ".join(str(run.summary.get("seed", "")) for run in group.runs).strip()


def _with_spread(row: Row, key: str) -> str:
    spread, value = row.get(key + SPREAD), row[key]
    # Bytes, of which a mean may have a fraction.
    text = f"{value:.0f}" if isinstance(value, float) and abs(value) >= 1e4 else short(value)
    # What is the same with every seed has no spread to speak of.
    return f"{text} ± {_two_digits(spread)}" if spread else text


def _two_digits(value: float) -> str:
    text = f"{value:.2g}"
    return f"{float(text):.0f}" if value >= 10 else text
