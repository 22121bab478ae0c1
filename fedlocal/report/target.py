"""Time to accuracy: what it took until a group first had a test accuracy."""

from math import ceil, floor
from typing import Any

from fedlocal.report.group_table import joined, mean_and_spread
from fedlocal.report.groups import Group
from fedlocal.report.runs import FinishedRun
from fedlocal.report.series import AXES

Row = dict[str, Any]
ACCURACY = "test_accuracy"


def automatic_target(groups: list[Group]) -> float | None:
    """The best accuracy that at least half of the groups reach with all their seeds.

    Rounded down to a whole percent, unless that is nothing; None without a test accuracy.
    """
    reached = sorted((best for group in groups if (best := _best(group)) is not None), reverse=True)
    if not reached:
        return None
    best = reached[ceil(len(reached) / 2) - 1]
    return floor(best * 100) / 100 or best


def check_target(target: float) -> float:
    """The target, if it is an accuracy.

    Raises:
        ValueError: It is not in (0, 1].
    """
    if not 0 < target <= 1:
        raise ValueError(f"--target must be a share in (0, 1], got {target:g}; 0.9 is 90 %")
    return target


def time_to(groups: list[Group], target: float) -> list[Row]:
    """A row per group: n, how many seeds reached the target, and what it took those on average.

    Counted to the end of the first evaluated round with the target; None where no seed reached it.
    """
    return [_row(group, target) for group in groups]


def first_with(run: FinishedRun, target: float) -> Row | None:
    """The first row of a run that has the accuracy."""
    evaluated = (row for row in run.history if row.get(ACCURACY) is not None)
    return next((row for row in evaluated if row[ACCURACY] >= target), None)


def _row(group: Group, target: float) -> Row:
    rows = [row for run in group.runs if (row := first_with(run, target)) is not None]
    costs = [mean_and_spread(key, [cost(row) for row in rows]) for key, cost in COSTS.items()]
    return {**group.settings, "target": target, "n": group.size, "reached": len(rows)} | joined(
        costs
    )


def _best(group: Group) -> float | None:
    """The accuracy that all seeds reach at some time."""
    each = [[row[ACCURACY] for row in run.history if _is_number(row)] for run in group.runs]
    return min(max(values) for values in each) if all(each) else None


def _is_number(row: Row) -> bool:
    value = row.get(ACCURACY)
    # nan is not equal to itself.
    return value is not None and value == value


COSTS = {axis.key: axis.position for axis in AXES} | {
    "bytes": lambda row: row["uplink_bytes"] + row["downlink_bytes"]
}
