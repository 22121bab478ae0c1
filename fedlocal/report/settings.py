"""What a run was told, and what came of it in its resolved configuration."""

from collections.abc import Mapping
from typing import Any

from fedlocal.report.runs import FinishedRun
from fedlocal.utils.flattened import flattened


def overrides(run: FinishedRun) -> dict[str, str]:
    """What was given on the command line for this run, by key."""
    given = run.summary.get("overrides", [])
    # Hydra escapes the colons of a graph's settings.
    plain = [override.lstrip("+").replace("\\:", ":") for override in given]
    return dict(override.split("=", 1) for override in plain if "=" in override)


def told_keys(runs: list[FinishedRun]) -> list[str]:
    """The keys that any of the runs was given, in order."""
    return list(dict.fromkeys(key for run in runs for key in overrides(run)))


def as_told(run: FinishedRun, key: str) -> str:
    """A key's value in this run: given, or the choice or value it has by default."""
    given, choices = overrides(run), run.summary.get("choices", {})
    if key in given or key in choices:
        return str(given.get(key, choices.get(key)))
    value = _value(run, key)
    # As on the command line, where a list has no spaces.
    return "" if value is None else str(value).replace(", ", ",")


def resolved(run: FinishedRun, key: str) -> str:
    """A key's value after all defaults, however it was spelled: its choice, or its value."""
    chosen = run.summary.get("choices", {}).get(key)
    return str(chosen) if chosen is not None else _text(_value(run, key))


def leaves(config: Mapping[str, Any]) -> dict[str, str]:
    """Every value of a configuration as text, by its dotted key.

    >>> leaves({"K": 8, "model": {"hidden": [4, 3]}})
    {'K': '8', 'model.hidden': '[4,3]'}
    """
    return {key: _text(value) for key, value in flattened(config).items()}


def short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each key, as long as no two are alike.

    >>> short_names(["partition.alpha", "K"])
    {'partition.alpha': 'alpha', 'K': 'K'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return dict(zip(keys, last if len(set(last)) == len(last) else keys, strict=True))


def differing(rows: list[dict[str, str]]) -> list[str]:
    """The keys that do not have the same value in all rows, which have the same keys."""
    return [key for key in rows[0] if len({row[key] for row in rows}) > 1]


def labels(rows: list[dict[str, str]]) -> list[str]:
    """What tells each row from the others, without what a row has not.

    >>> labels([{"K": "4", "partition.alpha": "1"}, {"K": "4", "partition.alpha": "5"}])
    ['alpha=1', 'alpha=5']
    """
    keys = differing(rows)
    name = short_names(keys)
    parts = [[f"{name[key]}={row[key]}" for key in keys if row[key]] for row in rows]
    return ["  ".join(one) or "default" for one in parts]


def _value(run: FinishedRun, key: str) -> Any:
    value = run.summary.get("config", {})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """A value as it would be given, in one spelling: 1 and 1.0 are the same."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value).replace(", ", ",")
