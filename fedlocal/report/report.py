"""What a report says of finished runs, before any of it is drawn."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from fedlocal.report.group_table import tabulate_groups
from fedlocal.report.groups import Group, groups_of
from fedlocal.report.heat import default_metric, heat_keys, too_large
from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import leaves
from fedlocal.report.table import tabulate
from fedlocal.report.target import automatic_target, check_target, time_to
from fedlocal.report.units import Numbers

Row = dict[str, Any]


class Wishes(NamedTuple):
    """What a report is asked for; the defaults suit most.

    Attributes:
        heat: "KEY,KEY" of the heat map's rows and columns.
        metric: Of the heat map: a column of the summary.
        target: The accuracy to which time is measured.
        clock: Settings of another clock to time the runs under.
    """

    heat: str | None = None
    metric: str | None = None
    target: float | None = None
    clock: dict[str, Numbers] | None = None


@dataclass(frozen=True)
class Report:
    """The runs and all that is drawn or tabulated of them.

    Attributes:
        runs: As they are reported: under another clock if one was asked for.
        groups: The runs by configuration.
        run_table: A row per run.
        group_table: A row per group.
        target: The accuracy to which time is measured; None without a test accuracy.
        target_given: Somebody asked for it.
        target_table: A row per group.
        heat: The keys of the heat map; None where fewer than two vary.
        metric: What the heat map shows.
        notes: What a reader must know before he compares.
    """

    runs: list[FinishedRun]
    groups: list[Group]
    run_table: list[Row]
    group_table: list[Row]
    target: float | None
    target_given: bool
    target_table: list[Row]
    heat: tuple[str, str] | None
    metric: str
    notes: list[str]


def report_on(runs: list[FinishedRun], wishes: Wishes) -> Report:
    """Look at the runs.

    Raises:
        ValueError: A wish does not fit them; says what would.
    """
    runs, notes = _timed(runs, wishes.clock)
    groups = groups_of(runs)
    heat = heat_keys(groups, wishes.heat)
    if heat is not None and (reason := too_large(groups, heat)):
        if wishes.heat is not None:
            raise ValueError(reason)
        heat, notes = None, [*notes, reason]
    target = _target(groups, wishes.target)
    return Report(
        runs,
        groups,
        tabulate(runs),
        tabulate_groups(groups),
        target,
        wishes.target is not None,
        [] if target is None else time_to(groups, target),
        heat,
        _metric(groups, wishes.metric),
        notes + _code_notes(groups),
    )


def _code_notes(groups: list[Group]) -> list[str]:
    """Which means are over runs that were not made alike."""
    codes = {g.label: {run.summary.get("code_sha256") for run in g.runs} for g in groups}
    mixed = [label for label, found in codes.items() if len(found) > 1]
    if not mixed:
        return []
    return [f"these are means over runs of different code: {'; '.join(mixed)}"]


def _timed(
    runs: list[FinishedRun], clock: dict[str, Numbers] | None
) -> tuple[list[FinishedRun], list[str]]:
    """The runs under the clock that was asked for, if any, and what must be said of that."""
    if not clock:
        return runs, []
    # Only here: a clock comes with torch.
    from fedlocal.report.retimed import replayed, said

    runs, left_out = replayed(runs, clock)
    settings = ", ".join(f"{key}={value}" for key, value in leaves(clock).items())
    notes = [f"simulated seconds are those of a clock with {settings}, not of the runs' own"]
    if left_out:
        notes.append(f"without seconds, since they cannot be timed again: {said(left_out)}")
    return runs, notes


def _target(groups: list[Group], given: float | None) -> float | None:
    found = automatic_target(groups)
    if given is None:
        return found
    if found is None:
        raise ValueError("--target needs a test accuracy, and no run has one in all of its seeds")
    return check_target(given)


def _metric(groups: list[Group], given: str | None) -> str:
    if given is None:
        return default_metric(groups)
    known = [
        key
        for key, value in groups[0].runs[0].summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if given not in known:
        raise ValueError(f"--metric must be one of {', '.join(known)}, got {given!r}")
    return given
