"""Settings of finished runs: their overrides and resolved configurations, as text."""

from typing import Any

from fedlocal.report.runs import FinishedRun
from fedlocal.utils.flat_config import flatten


def overrides(run: FinishedRun) -> dict[str, str]:
    """Return the values that were given on the run's command line, by key."""
    given = run.summary.get("overrides", [])
    # Hydra escapes the colons of a graph's settings.
    plain = [override.lstrip("+").replace("\\:", ":") for override in given]
    return dict(override.split("=", 1) for override in plain if "=" in override)


def override_keys(runs: list[FinishedRun]) -> list[str]:
    """Return the keys that any of the runs overrides, in order."""
    return list(dict.fromkeys(key for run in runs for key in overrides(run)))


def override_or_default(run: FinishedRun, key: str) -> str:
    """Return a key's value as given on the command line, else its default choice or value."""
    given, choices = overrides(run), run.summary.get("choices", {})
    if key in given or key in choices:
        return str(given.get(key, choices.get(key)))
    value = _value(run, key)
    # As on the command line, where a list has no spaces.
    return "" if value is None else str(value).replace(", ", ",")


def resolved_value(run: FinishedRun, key: str) -> str:
    """Return a key's choice or value after all defaults, in one spelling."""
    choice = run.summary.get("choices", {}).get(key)
    return str(choice) if choice is not None else as_text(_value(run, key))


def resolved_settings(run: FinishedRun, runs: list[FinishedRun]) -> dict[str, str]:
    """Return the run's seed and its values of all keys that any of the runs overrides."""
    values = {key: resolved_value(run, key) for key in override_keys(runs)}
    return {"seed": str(run.seed)} | values


def flat_text(config: dict[str, Any]) -> dict[str, str]:
    """Return every value of a configuration as text, by its dotted key.

    >>> flat_text({"K": 8, "model": {"hidden": [4, 3]}})
    {'K': '8', 'model.hidden': '[4,3]'}
    """
    return {key: as_text(value) for key, value in flatten(config).items()}


def as_text(value: Any) -> str:
    """Return a value as it would be given, in one spelling.

    >>> as_text(1.0), as_text(0.1), as_text(None), as_text([4, 3])
    ('1', '0.1', '', '[4,3]')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value).replace(", ", ",")


def short_names(keys: list[str]) -> dict[str, str]:
    """Return the last part of each key if these are distinct, else the keys.

    >>> short_names(["partition.alpha", "K"])
    {'partition.alpha': 'alpha', 'K': 'K'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return dict(zip(keys, last if len(set(last)) == len(last) else keys, strict=True))


def varied_keys(rows: list[dict[str, str]]) -> list[str]:
    """Return the keys whose values differ between the rows, which all have the same keys."""
    return [key for key in rows[0] if len({row[key] for row in rows}) > 1]


def labels(rows: list[dict[str, str]]) -> list[str]:
    """Return a label for each row: its nonempty values of the keys that differ.

    >>> labels([{"K": "4", "partition.alpha": "1"}, {"K": "4", "partition.alpha": "5"}])
    ['alpha=1', 'alpha=5']
    """
    keys = varied_keys(rows)
    name = short_names(keys)
    parts = [[f"{name[key]}={row[key]}" for key in keys if row[key]] for row in rows]
    return ["  ".join(one) or "default" for one in parts]


def _value(run: FinishedRun, key: str) -> Any:
    value = run.summary.get("config", {})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
