"""Runs that differ in their seed alone, together: what means and bands are taken over."""

import json
from itertools import count
from typing import NamedTuple

from fedlocal.report.runs import FinishedRun
from fedlocal.report.settings import differing, labels, leaves, overrides, resolved, told_keys

# Where metrics go and what is kept to go on from changes none of them.
IRRELEVANT = ("seed", "tracking", "checkpoint")


class Group(NamedTuple):
    """Runs under one configuration.

    Attributes:
        label: What tells the group from the others.
        settings: What any run was told, but for the seed; all groups have the same keys.
        runs: One for each seed.
    """

    label: str
    settings: dict[str, str]
    runs: tuple[FinishedRun, ...]

    @property
    def size(self) -> int:
        """Number of seeds."""
        return len(self.runs)


def groups_of(runs: list[FinishedRun]) -> list[Group]:
    """The runs in groups, in the order of their first runs.

    What counts is the resolved configuration, not how it was spelled. A seed counts once in a
    group: the same run again would make a spread smaller than it is, so it goes into a further
    group, which `repeat` tells apart.
    """
    kinds = [members for alike in _alike_but_for_seeds(runs) for members in _by_seeds(alike)]
    members = [group for alike in kinds for group in _repeats(alike)]
    place = {run.folder: number for number, run in enumerate(runs)}
    members.sort(key=lambda group: min(place[run.folder] for run in group))
    settings = _settings(runs, members)
    names = labels(settings)
    if len(members) == 1:
        names = [members[0][0].label if len(members[0]) == 1 else "all seeds"]
    return [
        Group(name, setting, tuple(group))
        for name, setting, group in zip(names, settings, members, strict=True)
    ]


def varied(groups: list[Group]) -> list[str]:
    """The settings that are not the same in all groups."""
    return differing([group.settings for group in groups])


def resolved_settings(run: FinishedRun, runs: list[FinishedRun]) -> dict[str, str]:
    """What a run has of all that any of the runs was told, the seed among it."""
    return {"seed": str(_seed(run))} | {key: resolved(run, key) for key in told_keys(runs)}


def _alike_but_for_seeds(runs: list[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs whose configurations agree in all keys that are no seed."""
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        config = {key: text for key, text in _relevant(run).items() if not _is_seed(key)}
        found.setdefault(json.dumps(config, sort_keys=True), []).append(run)
    return list(found.values())


def _by_seeds(runs: list[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs apart by those seeds of data or parts that do not just follow the run's own."""
    keys = [key for key in _relevant(runs[0]) if _is_seed(key)]
    own = [key for key in keys if any(_relevant(run)[key] != str(_seed(run)) for run in runs)]
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps([_relevant(run)[key] for key in own]), []).append(run)
    return list(found.values())


def _repeats(runs: list[FinishedRun]) -> list[list[FinishedRun]]:
    """The runs in lists in which no seed stands twice, each in the order of its seeds."""
    lists: list[list[FinishedRun]] = []
    for run in runs:
        free = (some for some in lists if all(_seed(one) != _seed(run) for one in some))
        place = next(free, None)
        if place is None:
            lists.append(place := [])
        place.append(run)
    return [sorted(some, key=_seed) for some in lists]


def _settings(runs: list[FinishedRun], groups: list[list[FinishedRun]]) -> list[dict[str, str]]:
    """What each group was told; where that leaves groups alike, what else they differ in."""
    settings = _shared(groups, [key for key in told_keys(runs) if _counts(key)])
    if _distinct(settings) < len(groups):
        every = dict.fromkeys(key for group in groups for key in _relevant(group[0]))
        settings = _joined(settings, _shared(groups, list(every)))
    if _distinct(settings) < len(groups):
        seen: dict[str, count[int]] = {}
        numbers = [next(seen.setdefault(str(row), count(1))) for row in settings]
        settings = _joined(settings, [{"repeat": str(number)} for number in numbers])
    return settings


def _shared(groups: list[list[FinishedRun]], keys: list[str]) -> list[dict[str, str]]:
    """Each group's values of those keys in which its runs agree, in all groups."""
    agreed = [key for key in keys if all(_agree(group, key) for group in groups)]
    return [{key: resolved(group[0], key) for key in agreed} for group in groups]


def _joined(rows: list[dict[str, str]], others: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows with what differs among the others and does not only follow a row's own keys."""
    for key in differing(others):
        values = [row[key] for row in others]
        joined = [row | {key: value} for row, value in zip(rows, values, strict=True)]
        if _distinct(joined) > _distinct(rows):
            rows = joined
    return rows


def _distinct(settings: list[dict[str, str]]) -> int:
    return len({str(row) for row in settings})


def _agree(group: list[FinishedRun], key: str) -> bool:
    return len({resolved(run, key) for run in group}) == 1


def _relevant(run: FinishedRun) -> dict[str, str]:
    values = leaves(run.summary["config"]) if "config" in run.summary else overrides(run)
    return {key: value for key, value in values.items() if _counts(key)}


def _counts(key: str) -> bool:
    return key.split(".")[0] not in IRRELEVANT


def _is_seed(key: str) -> bool:
    return key.split(".")[-1] == "seed"


def _seed(run: FinishedRun) -> int:
    return run.summary.get("seed", 0)
