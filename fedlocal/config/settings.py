"""Type checks of configuration values against the signatures of the components.

Components check ranges themselves. Types are checked here for all of them, because "abc" < 1 would
raise a TypeError that does not name the key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from fedlocal.config.errors import root_of, suggestion
from fedlocal.config.keys import FILLED, check_filled, check_hydras
from fedlocal.config.target_lookup import locate
from fedlocal.objective.options import ModelOptions

# Integers of the top level: minimum, and an example.
WHOLE = {
    "K": (1, 8),
    "H": (1, 10),
    "steps": (1, 1000),
    "rounds": (1, 100),
    "batch_size": (0, 32),
    "seed": (0, 0),
}
TYPES = {
    "lr": float,
    "participation": float,
    "dtype": str,
    "device": str,
    "precision": str,
    "spill": str | None,
    "clip_norm": float | None,
}
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_settings(cfg: DictConfig) -> None:
    """Check the top level and every group.

    Raises:
        ValueError: Names the key, what was given and what is allowed.
    """
    for key, (least, example) in WHOLE.items():
        value = cfg[key]
        if not _suits(value, int) or value < least:
            raise ValueError(
                f"{key} must be a whole number >= {least}, got {value!r}; for example"
                f" {key}={example}"
            )
    for key, kind in TYPES.items():
        _require(key, cfg[key], kind)
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{key} must be given; add {key}=... to the command line")
    for key, value in cfg.items():
        _check_group(str(key), value)


def _check_group(name: str, group: Any) -> None:
    """Check a group and its nested groups against the signatures of their targets."""
    if not isinstance(group, DictConfig):
        return
    keys = [str(key) for key in group if not str(key).startswith("_")]
    hints: dict[str, Any] = dict.fromkeys(keys, Any)
    if "_target_" in group:
        check_hydras(name, group)
        target = locate(name, group["_target_"])
        for key in keys:
            check_filled(name, key, target)
        hints = _parameters(target) | _seed(name, keys)
        if name == "model":
            # Options of the run stand beside those of the model.
            hints |= get_type_hints(ModelOptions)
        _check_given(name, keys, target)
    for key in keys:
        if key not in hints and Parameter.VAR_KEYWORD not in hints.values():
            near = suggestion(root_of(group, name), name, key, [*hints])
            raise ValueError(
                f"{name} has no setting {key}{near}; it takes {', '.join(hints) or 'none'}"
            )
        _require(f"{name}.{key}", group[key], hints.get(key, Any))
        _check_group(f"{name}.{key}", group[key])


def _seed(name: str, keys: list[str]) -> dict[str, Any]:
    """Return the type of a partition's seed; null stands for the seed of the run."""
    return {"seed": int | None} if name.split(".")[0] == "partition" and "seed" in keys else {}


def _check_given(name: str, keys: list[str], target: Any) -> None:
    """Raise ValueError for a missing parameter without a default of user code."""
    if name.split(".")[0] in (*FILLED, "strategy"):
        return
    plain = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    for key, parameter in _signature(target).items():
        if parameter.default is Parameter.empty and parameter.kind in plain and key not in keys:
            raise ValueError(
                f"{name}.{key} must be given; add +{name}.{key}=... to the command line"
            )


def _parameters(target: Any) -> dict[str, Any]:
    """Return the annotation of each parameter."""
    hints = _hints(target)
    return {
        key: parameter.kind if parameter.kind == Parameter.VAR_KEYWORD else hints.get(key, Any)
        for key, parameter in _signature(target).items()
    }


def _hints(target: Any) -> dict[str, Any]:
    made = target.__init__ if isinstance(target, type) and not is_dataclass(target) else target
    try:
        return get_type_hints(made)
    except (NameError, TypeError):
        # User code whose annotations only a type checker can resolve.
        return {}


def _signature(target: Any) -> Mapping[str, Parameter]:
    try:
        return signature(target).parameters
    except ValueError:
        # Some C functions have no signature; their arguments are passed on unchecked.
        return {"keywords": Parameter("keywords", Parameter.VAR_KEYWORD)}


def _require(key: str, value: Any, hint: Any) -> None:
    if not _suits(value, hint):
        words = dict.fromkeys(_word(kind) for kind in _kinds(hint))
        allowed = " or ".join(word for word in words if word) or "another kind of value"
        raise ValueError(f"{key} must be {allowed}, got {value!r}{_as_list(key, value, hint)}")


def _as_list(key: str, value: Any, hint: Any) -> str:
    """Return advice on quotes for a key that takes a list of texts; "" for other keys."""
    if not any(_item(kind) is str for kind in _kinds(hint)):
        return ""
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not given or not all(isinstance(each, str | int | float) for each in given):
        return f"; for example {key}=[head]"
    if all(isinstance(each, str) for each in given):
        return f"; for example {key}=[{','.join(given)}]"
    quoted = ",".join(f'"{each}"' for each in given)
    return f"; quote numbers: '{key}=[{quoted}]'"


def _word(kind: Any) -> str:
    return f"a list, each {_word(_item(kind))}" if _item(kind) else WORDS.get(kind, "")


def _suits(value: Any, hint: Any) -> bool:
    kinds = _kinds(hint)
    if Any in kinds:
        return True
    if isinstance(value, Mapping):
        # A nested component is checked on its own.
        return "_target_" in value or any(map(_maps, kinds))
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_item(kind) for kind in kinds if _item(kind)]
        return any(all(_suits(one, item) for one in value) for item in items)
    accepted_by = {int: {int, float}, str: {str, Path}}
    return bool(accepted_by.get(type(value), {type(value)}) & set(kinds))


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the types of the values of a Literal."""
    if get_origin(hint) is Literal:
        return tuple(type(value) for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for member in get_args(hint) for kind in _kinds(member))
    return (hint,)


def _maps(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (dict, Mapping)


def _item(kind: Any) -> Any:
    """Return the type of the items of a list or tuple, None for other types."""
    sequences = (list, tuple, Sequence)
    return get_args(kind)[0] if get_origin(kind) in sequences else None
