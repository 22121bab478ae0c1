"""Time to accuracy: the cost until a group first reaches a test accuracy."""

from math import ceil, floor, isnan
from typing import Any

import pandas as pd

from fedlocal.report.runs import FinishedRun, Group
from fedlocal.report.series import AXES
from fedlocal.report.tables import means

Row = dict[str, Any]
ACCURACY = "test_accuracy"
COSTS = {axis.key: axis.position for axis in AXES} | {
    "bytes": lambda row: row["uplink_bytes"] + row["downlink_bytes"]
}


def automatic_target(groups: list[Group]) -> float | None:
    """Return the best accuracy that at least half of the groups reach with all their seeds.

    It is rounded down to a whole percent, unless that is 0; None without a test accuracy.
    """
    reached = sorted((best for group in groups if (best := _best(group)) is not None), reverse=True)
    if not reached:
        return None
    best = reached[ceil(len(reached) / 2) - 1]
    return floor(best * 100) / 100 or best


def check_target(target: float) -> float:
    """Return the target if it is an accuracy.

    Raises:
        ValueError: It is not in (0, 1].
    """
    if not 0 < target <= 1:
        raise ValueError(f"--target must be a share in (0, 1], got {target:g}; 0.9 is 90 %")
    return target


def tabulate_target(groups: list[Group], target: float) -> pd.DataFrame:
    """Return a row per group: n, the number of seeds that reach the target, and their mean costs.

    Costs are those up to the end of the first evaluated round with the target; None where no seed
    reaches it.
    """
    return pd.DataFrame([_row(group, target) for group in groups], dtype=object)


def _row(group: Group, target: float) -> Row:
    rows = [row for run in group.runs if (row := _first_row(run, target)) is not None]
    costs = means({key: [cost(row) for row in rows] for key, cost in COSTS.items()})
    return {**group.settings, "target": target, "n": group.size, "reached": len(rows)} | costs


def _first_row(run: FinishedRun, target: float) -> Row | None:
    """Return the first row of a run with the accuracy."""
    evaluated = (row for row in run.history if row.get(ACCURACY) is not None)
    return next((row for row in evaluated if row[ACCURACY] >= target), None)


def _best(group: Group) -> float | None:
    """Return the accuracy that every seed reaches in some round."""
    each = [[row[ACCURACY] for row in run.history if _is_number(row)] for run in group.runs]
    return min(max(values) for values in each) if all(each) else None


def _is_number(row: Row) -> bool:
    value = row.get(ACCURACY)
    return value is not None and not isnan(value)
