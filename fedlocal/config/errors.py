"""One-line errors for a configuration: what was given, what is allowed, the likely fix."""

from collections.abc import Sequence
from difflib import get_close_matches
from re import sub
from typing import Any

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from fedlocal.config.known_keys import top_level
from fedlocal.utils.flat_config import flatten
from fedlocal.utils.suggest import did_you_mean, suggest


class ConfigError(Exception):
    """Invalid configuration; the message is one line for the user."""


# Names that other frameworks have for the keys of the top level.
ELSEWHERE = {
    "clients": "K",
    "num_clients": "K",
    "num_workers": "K",
    "local_steps": "H",
    "num_rounds": "rounds",
    "learning_rate": "lr",
}


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, without Hydra's file paths."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _unknown_option(error.missing_cfg_file, list(error.options))
    if isinstance(error, OverrideParseException):
        return _malformed(error)
    for one in (error, cause):
        if isinstance(one, ConfigAttributeError | ConfigKeyError):
            return _unknown_key(one)
    if isinstance(error, InstantiationException) and cause is not None:
        return with_place(error, one_line(cause))
    return "; ".join(_lines(error))


def _unknown_option(given: str, options: list[str]) -> str:
    group, _, option = given.rpartition("/")
    return (
        f"there is no {group}={option}{did_you_mean(option, options)}; one of {', '.join(options)}"
    )


def _malformed(error: OverrideParseException) -> str:
    reason = next((x for x in _lines(error)[::-1] if "://" not in x), "")
    return (
        f"cannot read the override {error.override!r}: {reason}; it must be key=value, and quotes"
        " protect special characters: 'key=\"a, b\"'"
    )


def with_place(error: Exception, line: str) -> str:
    """Put the place in the configuration, which Hydra appends, before the message."""
    place = str(error).partition("full_key: ")[2].strip()
    return line if line.startswith(place.split(".")[0]) else f"{place}: {line}"


def _unknown_key(error: ConfigAttributeError | ConfigKeyError) -> str:
    parent = error.parent_node if isinstance(error.parent_node, DictConfig) else {}
    known = [str(key) for key in parent if key != "hydra" and not str(key).startswith("_")]
    place = str(error.full_key).rpartition(".")[0]
    if str(error.full_key) in top_level()[1]:
        return f"no option of {error.key} is chosen, so it has no keys; choose one: {error.key}=..."
    near = suggestion(root_of(parent, place), place, str(error.key), known)
    return (
        f"there is no key {error.full_key}{near};"
        f" {place or 'the top level'} has {', '.join(known) or 'none'}"
    )


def root_of(group: Any, place: str) -> Any:
    """Return the whole configuration of a group in it, given the group's full name."""
    if not isinstance(group, DictConfig) or not place:
        return group
    # A dot for the group itself, and one for each step up.
    return OmegaConf.select(group, "." * (place.count(".") + 2))


def suggestion(root: Any, place: str, key: str, known: Sequence[str]) -> str:
    """Return the likely key, in brackets; "" if none is similar.

    Args:
        root: The whole configuration.
        place: The group in which the key was given, "" for the top level.
        key: The key.
        known: The keys that there are in that place.
    """
    if near := did_you_mean(key, known):
        return near
    if not place and key in ELSEWHERE:
        return suggest([ELSEWHERE[key]])
    given = f"{place}.{key}".lstrip(".")
    ends = {name: name.rpartition(".")[2] for name in _everywhere(root) if name != given}
    near = get_close_matches(key, sorted(set(ends.values())), n=1, cutoff=0.75)
    same = [name for name, end in ends.items() if end in near]
    inside = [name for name in same if place and name.startswith(f"{place}.")]
    return suggest((inside or same)[:3])


def _everywhere(root: Any) -> list[str]:
    """Return the full name of every key, including nested groups."""
    # Unresolved, so that a reference to a group adds no keys.
    plain: Any = OmegaConf.to_container(root) if isinstance(root, DictConfig) else {}
    return [
        name for name in flatten(plain) if not name.startswith("hydra.") and "._" not in f".{name}"
    ]


def _lines(error: BaseException) -> list[str]:
    # Hydra's advice concerns defaults lists, which have no plus sign.
    text = sub(r"To override a value use 'override (\S+): (\S+)'", r"Write \1=\2", str(error))
    parts = (part.strip() for part in text.splitlines())
    # Further lines of OmegaConf repeat the first one.
    return [part for part in parts if part and not part.startswith(("full_key:", "object_type="))]
