"""Groups of runs that differ in their seed alone."""

import pandas as pd

from fedlocal.report.runs import FinishedRun, Group
from fedlocal.report.settings import (
    flat_text,
    labels,
    override_keys,
    overrides,
    resolved_value,
    varied_keys,
)

# Neither the destination of metrics nor checkpoints change a run's numbers.
IRRELEVANT = ("seed", "tracking", "checkpoint")


def groups_of(runs: list[FinishedRun]) -> list[Group]:
    """Return the runs in groups of equal resolved configurations, in order of their first runs.

    A seed counts once in a group, since repeating a run would reduce the deviation: its
    repetitions form further groups, distinguished by a setting `repeat`.
    """
    numbers = _group_numbers(runs)
    members = [
        tuple(sorted((runs[at] for at in rows), key=lambda run: run.seed))
        for rows in numbers.groupby(numbers).groups.values()
    ]
    settings = _group_settings(runs, numbers)
    names = labels(settings)
    if len(members) == 1:
        names = [members[0][0].label if len(members[0]) == 1 else "all seeds"]
    return [Group(*one) for one in zip(names, settings, members, strict=True)]


def varied_settings(groups: list[Group]) -> list[str]:
    """Return the settings that differ between groups."""
    return varied_keys([group.settings for group in groups])


def _group_numbers(runs: list[FinishedRun]) -> pd.Series:
    """Return the number of each run's group."""
    seeds = pd.Series([run.seed for run in runs])
    configs = pd.DataFrame([_relevant(run) for run in runs], index=seeds.index)
    of_parts = [key for key in configs if key.split(".")[-1] == "seed"]
    shared = configs.drop(columns=of_parts)
    # A seed of the data, or of a part, that equals the run's own does not distinguish groups.
    own = configs[of_parts].ne(seeds.astype(str), axis=0).groupby(_numbers(shared)).transform("any")
    kind = _numbers(shared.join(configs[of_parts].where(own, "")))
    repeat = seeds.groupby([kind, seeds]).cumcount()
    return _numbers(pd.DataFrame({"kind": kind, "repeat": repeat}))


def _group_settings(runs: list[FinishedRun], numbers: pd.Series) -> list[dict[str, str]]:
    """Return each group's overridden settings, and further ones where groups agree in these."""
    keys = [key for key in override_keys(runs) if _is_relevant(key)]
    given = [{key: resolved_value(run, key) for key in keys} for run in runs]
    settings = _common(pd.DataFrame(given, index=numbers.index), numbers)
    if _distinct(settings) < len(settings):
        configs = pd.DataFrame([_relevant(run) for run in runs], index=numbers.index).fillna("")
        settings = _distinguished(settings, _common(configs, numbers))
    if _distinct(settings) < len(settings):
        same = _numbers(settings)
        settings = settings.assign(repeat=(same.groupby(same).cumcount() + 1).astype(str))
    # pandas 2 has no records of a frame without columns.
    return [row.to_dict() for _, row in settings.iterrows()]


def _common(values: pd.DataFrame, numbers: pd.Series) -> pd.DataFrame:
    """Return the columns in which the runs of every group agree, with a row for each group."""
    first = values[~numbers.duplicated()].reset_index(drop=True)
    agree = (values == first.loc[numbers].set_index(values.index)).all()
    return first.loc[:, [key for key in first if agree[key]]]


def _distinguished(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with those columns of others that distinguish more of them."""
    for key in others.columns[others.nunique() > 1]:
        joined = rows.assign(**{key: others[key]})
        if _distinct(joined) > _distinct(rows):
            rows = joined
    return rows


def _distinct(rows: pd.DataFrame) -> int:
    return _numbers(rows).nunique()


def _numbers(rows: pd.DataFrame) -> pd.Series:
    """Numbers the distinct rows in order of their appearance."""
    # A frame without columns has one distinct row.
    keys = [pd.Series(0, index=rows.index), *(rows[key] for key in rows)]
    return rows.groupby(keys, sort=False, dropna=False).ngroup()


def _relevant(run: FinishedRun) -> dict[str, str]:
    values = flat_text(run.summary["config"]) if "config" in run.summary else overrides(run)
    return {key: value for key, value in values.items() if _is_relevant(key)}


def _is_relevant(key: str) -> bool:
    return key.split(".")[0] not in IRRELEVANT
