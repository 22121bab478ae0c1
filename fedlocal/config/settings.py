"""Whether the values of the configuration have the types that the pieces' signatures ask for.

Pieces check ranges themselves. Types are checked here, for all of them at once, because "abc" < 1
would end in a traceback instead of a line that names the key.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from pydoc import locate
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

# Whole numbers of the top level: the least, and an example.
WHOLE = {
    "K": (1, 8),
    "H": (1, 10),
    "steps": (1, 1000),
    "rounds": (1, 100),
    "batch_size": (0, 32),
    "seed": (0, 0),
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
    for key in ("lr", "participation"):
        _require(key, cfg[key], float)
    _require("precision", cfg.precision, str)
    _require("spill", cfg.spill, str | None)
    _require("clip_norm", cfg.clip_norm, float | None)
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{key} must be given; add {key}=... to the command line")
    for key, value in cfg.items():
        _check_group(str(key), value)


def _check_group(name: str, group: Any) -> None:
    """Hold a group, and the groups in it, against the signatures of what they build."""
    if not isinstance(group, Mapping):
        return
    keys = [str(key) for key in group if not str(key).startswith("_")]
    hints = (
        _parameters(name, group["_target_"]) if "_target_" in group else dict.fromkeys(keys, Any)
    )
    for key in keys:
        if key not in hints and Parameter.VAR_KEYWORD not in hints.values():
            raise ValueError(f"{name} has no setting {key}; it takes {', '.join(hints) or 'none'}")
        _require(f"{name}.{key}", group[key], hints.get(key, Any))
        _check_group(f"{name}.{key}", group[key])


def _parameters(name: str, path: str) -> dict[str, Any]:
    """Annotation of each parameter."""
    target: Any = locate(path)
    if target is None:
        raise ValueError(f"{name}._target_={path} cannot be imported; is its package installed?")
    hints = get_type_hints(target)
    return {
        key: parameter.kind if parameter.kind == Parameter.VAR_KEYWORD else hints.get(key, Any)
        for key, parameter in signature(target).parameters.items()
    }


def _require(key: str, value: Any, hint: Any) -> None:
    if not _suits(value, hint):
        words = dict.fromkeys(_word(kind) for kind in _kinds(hint))
        allowed = " or ".join(word for word in words if word) or "another kind of value"
        raise ValueError(f"{key} must be {allowed}, got {value!r}")


def _word(kind: Any) -> str:
    return f"a list, each {_word(_item(kind))}" if _item(kind) else WORDS.get(kind, "")


def _suits(value: Any, hint: Any) -> bool:
    kinds = _kinds(hint)
    # A mapping is a piece of its own, which is checked when its turn comes.
    if Any in kinds or isinstance(value, Mapping):
        return True
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_item(kind) for kind in kinds if _item(kind)]
        return any(all(_suits(one, item) for one in value) for item in items)
    accepted_by = {int: {int, float}, str: {str, Path}}
    return bool(accepted_by.get(type(value), {type(value)}) & set(kinds))


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The members of a union; the types of the values of a Literal."""
    if get_origin(hint) is Literal:
        return tuple(type(value) for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for member in get_args(hint) for kind in _kinds(member))
    return (hint,)


def _item(kind: Any) -> Any:
    """Type of the items of a list or tuple, None for anything else."""
    sequences = (list, tuple, Sequence)
    return get_args(kind)[0] if get_origin(kind) in sequences else None
