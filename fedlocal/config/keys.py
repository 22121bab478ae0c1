"""Checks that refuse keys that nothing reads, and keys that a run fills in itself."""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fedlocal.config.errors import suggestion
from fedlocal.config.known_keys import top_level

# For each group: the number of arguments that a run passes before the keywords, and their names in
# the options of fedlocal.
FILLED: dict[str, tuple[int, tuple[str, ...]]] = {
    "model": (2, ("input_shape", "num_outputs", "num_tokens")),
    "partition": (2, ("labels", "client_ids", "num_clients")),
    "loss": (2, ()),
}
INSTEAD = {"num_clients": "the number of clients is K"}
REFERENCE = re.compile(r"\$\{([^${}:]+)\}")


def check_top_level(cfg: DictConfig, *readers: DictConfig) -> None:
    """Raise ValueError for a top-level key that nothing reads, or keys of a group without option.

    Args:
        cfg: The configuration.
        readers: Other configurations that may refer to it.

    Raises:
        ValueError: Names the key.
    """
    keys, groups = top_level()
    read = {name for one in (cfg, *readers) for name in _references(one)}
    for key in map(str, cfg):
        if key not in (*keys, *groups) and key not in read:
            near = suggestion(cfg, "", key, [*keys, *groups])
            raise ValueError(f"nothing reads the key {key}{near}; leave it out")
        value = None if OmegaConf.is_interpolation(cfg, key) else cfg.get(key)
        if key in groups and isinstance(value, DictConfig) and "_target_" not in value.keys():
            raise ValueError(
                f"{key}.{next(iter(value), '')} is read by no option; choose one with {key}=..."
            )


def check_filled(place: str, key: str, target: Callable[..., Any]) -> None:
    """Raise ValueError for a key that the run fills in itself.

    Args:
        place: The group, or a group in it.
        key: The key.
        target: Function or class that the run calls.

    Raises:
        ValueError: Names the key, and what to give instead.
    """
    group = place.split(".")[0]
    if group not in FILLED or (group == "loss" and isinstance(target, type)):
        # A loss that is a class is constructed from its keywords alone.
        return
    count, names = FILLED[group]
    if key in (*names, *_parameters(target)[:count]):
        fix = INSTEAD.get(key, "it comes from the data")
        raise ValueError(f"{place}.{key} is filled in by the run: {fix}; leave it out")


def check_hydras(place: str, group: Mapping[Any, Any]) -> None:
    """Raise ValueError for keys of Hydra, which would change how an option is made.

    Raises:
        ValueError: Names the key.
    """
    later = place.split(".")[0] in FILLED
    for key in map(str, group):
        if not key.startswith("_") or key == "_target_":
            continue
        fixed = {"_partial_": later, "_convert_": "all"}
        if group[key] != fixed.get(key):
            raise ValueError(
                f"{place}.{key}={group[key]} is no setting: how an option is made is fixed; leave"
                " it out"
            )


def _parameters(target: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(signature(target).parameters)
    except ValueError:
        return ()


def _references(cfg: DictConfig) -> Iterator[str]:
    """Yield the top-level keys that values refer to, such as H in ${ceil_div:${steps},${H}}."""
    text = OmegaConf.to_yaml(cfg, resolve=False)
    return (path.strip().split(".")[0] for path in REFERENCE.findall(text))
