"""Contents of a report on finished runs, before they are drawn or written."""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from fedlocal.report.groups import groups_of
from fedlocal.report.heat_maps import default_metric, heat_keys, size_problem
from fedlocal.report.runs import FinishedRun, Group
from fedlocal.report.settings import flat_text
from fedlocal.report.tables import tabulate, tabulate_groups
from fedlocal.report.target import automatic_target, check_target, tabulate_target
from fedlocal.report.units import Numbers


class ReportOptions(NamedTuple):
    """Options of a report.

    Attributes:
        heat: "KEY,KEY" of the heat map's rows and columns.
        metric: Column of the summary that the heat map shows.
        target: Accuracy to which time is measured.
        clock: Settings of another clock to time the runs under.
    """

    heat: str | None = None
    metric: str | None = None
    target: float | None = None
    clock: dict[str, Numbers] | None = None


@dataclass(frozen=True)
class Report:
    """Runs with all that is drawn or tabulated of them.

    Attributes:
        runs: Runs, with the seconds of another clock on request.
        groups: Runs by configuration.
        run_table: Row per run.
        group_table: Row per group.
        target: Accuracy to which time is measured; None without a test accuracy.
        target_given: Whether the options name the target.
        target_table: Row per group; None without a target.
        heat: Keys of the heat map; None where fewer than two vary.
        metric: Metric of the heat map.
        notes: Remarks that a comparison must heed.
    """

    runs: list[FinishedRun]
    groups: list[Group]
    run_table: pd.DataFrame
    group_table: pd.DataFrame
    target: float | None
    target_given: bool
    target_table: pd.DataFrame | None
    heat: tuple[str, str] | None
    metric: str
    notes: list[str]


def report_on(runs: list[FinishedRun], options: ReportOptions) -> Report:
    """Make the report.

    Raises:
        ValueError: An option does not fit the runs; names the values that would.
    """
    runs, notes = _timed(runs, options.clock)
    groups = groups_of(runs)
    heat = heat_keys(groups, options.heat)
    if heat is not None and (reason := size_problem(groups, heat)):
        if options.heat is not None:
            raise ValueError(reason)
        heat, notes = None, [*notes, reason]
    target = _target(groups, options.target)
    return Report(
        runs,
        groups,
        tabulate(runs),
        tabulate_groups(groups),
        target,
        options.target is not None,
        None if target is None else tabulate_target(groups, target),
        heat,
        _metric(groups, options.metric),
        notes + _code_notes(groups),
    )


def _code_notes(groups: list[Group]) -> list[str]:
    """Name the groups whose runs were made by different code."""
    codes = {g.label: {run.summary.get("code_sha256") for run in g.runs} for g in groups}
    mixed = [label for label, found in codes.items() if len(found) > 1]
    if not mixed:
        return []
    return [f"these are means over runs of different code: {'; '.join(mixed)}"]


def _timed(
    runs: list[FinishedRun], clock: dict[str, Numbers] | None
) -> tuple[list[FinishedRun], list[str]]:
    """Times the runs under another clock on request, with notes on it."""
    if not clock:
        return runs, []
    # A clock imports torch.
    from fedlocal.report.retimed import describe_reasons, retime

    runs, left_out = retime(runs, clock)
    settings = ", ".join(f"{key}={value}" for key, value in flat_text(clock).items())
    notes = [f"simulated seconds are those of a clock with {settings}, not of the runs' own"]
    if left_out:
        reasons = describe_reasons(left_out)
        notes.append(f"without seconds, since they cannot be timed again: {reasons}")
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
