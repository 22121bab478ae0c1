"""Saying no to a configuration in one line: what was given, what is allowed, the likely fix."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from re import sub
from typing import Any

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from fedlocal.config.known import top_level


class ConfigError(Exception):
    """The configuration cannot be run; the message is one line for the user."""


def one_line(error: BaseException) -> str:
    """What an error says to the user, without line breaks and without Hydra's file paths."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _unknown_option(error.missing_cfg_file, list(error.options))
    if isinstance(error, OverrideParseException):
        return _malformed(error)
    for one in (error, cause):
        if isinstance(one, ConfigAttributeError | ConfigKeyError):
            return _unknown_key(one)
    if isinstance(error, InstantiationException) and cause is not None:
        return placed(error, one_line(cause))
    return "; ".join(_lines(error))


def _unknown_option(given: str, options: list[str]) -> str:
    group, _, option = given.rpartition("/")
    return f"there is no {group}={option}{_nearest(option, options)}; one of {', '.join(options)}"


def _malformed(error: OverrideParseException) -> str:
    reason = next((x for x in _lines(error)[::-1] if "://" not in x), "")
    return (
        f"cannot read the override {error.override!r}: {reason}; it must be key=value, and quotes"
        " protect special characters: 'key=\"a, b\"'"
    )


def placed(error: Exception, line: str) -> str:
    """The line after the place in the configuration, which Hydra gives at the end of its text."""
    place = str(error).partition("full_key: ")[2].strip()
    return line if line.startswith(place.split(".")[0]) else f"{place}: {line}"


def _unknown_key(error: ConfigAttributeError | ConfigKeyError) -> str:
    parent = error.parent_node if isinstance(error.parent_node, DictConfig) else {}
    known = [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
    place = str(error.full_key).rpartition(".")[0]
    if str(error.full_key) in top_level()[1]:
        return f"no option of {error.key} is chosen, so it has no keys; choose one: {error.key}=..."
    root = parent._get_root() if isinstance(parent, DictConfig) else {}
    return (
        f"there is no key {error.full_key}{meant(root, place, str(error.key), known)};"
        f" {place or 'the top level'} has {', '.join(known) or 'none'}"
    )


def meant(root: Any, place: str, key: str, known: Sequence[str]) -> str:
    """The likely key, in brackets; "" if nothing is near.

    Args:
        root: The whole configuration.
        place: The group in which the key was given, "" for the top level.
        key: The key.
        known: The keys that there are in that place.
    """
    if near := get_close_matches(key, known, n=1):
        return f" (did you mean {near[0]}?)"
    given = f"{place}.{key}".lstrip(".")
    ends = {name: name.rpartition(".")[2] for name in _everywhere(root) if name != given}
    near = get_close_matches(key, sorted(set(ends.values())), n=1, cutoff=0.75)
    same = [name for name, end in ends.items() if end in near]
    inside = [name for name in same if place and name.startswith(f"{place}.")]
    found = (inside or same)[:3]
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def _everywhere(node: Any, place: str = "") -> Iterator[str]:
    """The full name of every key, those of groups inside groups as well."""
    # Not resolved: a key that refers to a group is the key of no other.
    items = node.items_ex(resolve=False) if isinstance(node, DictConfig) else ()
    for key, value in items:
        if str(key).startswith("_") or (not place and key == "hydra"):
            continue
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping):
            yield from _everywhere(value, name)
        else:
            yield name


def _nearest(given: str, known: list[str]) -> str:
    near = get_close_matches(given, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _lines(error: BaseException) -> list[str]:
    # Hydra's advice is for a defaults list, where there is no plus.
    text = sub(r"To override a value use 'override (\S+): (\S+)'", r"Write \1=\2", str(error))
    parts = (part.strip() for part in text.splitlines())
    # OmegaConf says in further lines what its first has said already.
    return [part for part in parts if part and not part.startswith(("full_key:", "object_type="))]
