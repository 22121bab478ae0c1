"""What a run was made from: its configuration and its code. And what differs between two runs."""

import hashlib
import json
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from fedlocal.config.refusal import ConfigError
from fedlocal.utils.atomic import write_atomically
from fedlocal.utils.flattened import flattened

FILE = "origin.json"
# Keys that may change while a run goes on: how long it lasts, who watches, and where it keeps what.
FREE = ("rounds", "steps", "evaluate", "goal", "tracking", "checkpoint", "spill")
OURS = ("fedlocal", "strategies", "partitions")
# Differences that a refusal names.
SHOWN = 8
PACKAGES = ("fedlocal", "torch", "numpy", "hydra-core")


class Origin(NamedTuple):
    """What JSON holds of a run's origin.

    overrides: As given. config: The resolved configuration. code: Fingerprint of each source file.
    versions: Of the packages that numbers depend on.
    """

    overrides: list[str]
    config: dict[str, Any]
    code: dict[str, str]
    versions: dict[str, str]


def origin_of(overrides: Sequence[str], config: Mapping[str, Any]) -> Origin:
    """The origin of a run with this configuration in this process."""
    modules = sorted({*OURS, *_target_modules(config)})
    code = {name: digest for module in modules for name, digest in _files(module)}
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    plain = json.loads(json.dumps(dict(config)))
    return Origin(list(overrides), plain, code, versions)


def save_origin(folder: Path, origin: Origin) -> None:
    """Write it into a run's folder."""
    write_atomically(folder / FILE, json.dumps(origin._asdict(), indent=1) + "\n")


def load_origin(folder: Path) -> Origin:
    """The origin of the run in this folder."""
    return Origin(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def check_same(folder: Path, before: Origin, now: Origin, strict: bool) -> None:
    """Refuse to go on with another run than the one that the folder holds.

    Args:
        folder: Of the run.
        before: What the run in it was made from.
        now: What the one to go on would be made from.
        strict: Refuse other code as well, instead of a warning.

    Raises:
        ConfigError: They differ; shows in what.
    """
    settings, code = other_settings(before, now), other_code(before, now)
    if settings:
        raise ConfigError(
            f"{folder} holds another run: {_listed(settings)}; give the same settings, or another"
            " folder"
        )
    if code and strict:
        raise ConfigError(
            f"{folder} holds a run of other code: {_listed(code)}; checkpoint.strict=false goes on"
            " all the same"
        )
    if code:
        warnings.warn(f"{folder} goes on with other code: {_listed(code)}", stacklevel=2)


def _listed(lines: list[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "; ".join(lines[:SHOWN] + more)


def code_sha256(origin: Origin) -> str:
    """One fingerprint for all of the code that a run was made from."""
    return hashlib.sha256(repr(sorted(origin.code.items())).encode()).hexdigest()


def other_settings(before: Origin, now: Origin) -> list[str]:
    """Settings that a run here would not have in common with one before, a short line each."""
    changes = _changes(flattened(_bound(before.config)), flattened(_bound(now.config)))
    return [f"{key}: {old} -> {new}" for key, old, new in changes]


def other_code(before: Origin, now: Origin) -> list[str]:
    """Code and packages that are not the same, a short line each."""
    code = _changes(before.code, now.code)
    versions = _changes(before.versions, now.versions)
    return [
        *(f"code of {file}" for file, _, _ in code),
        *(f"{package} {old} -> {new}" for package, old, new in versions),
    ]


def _bound(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in FREE}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys([*before, *now])
    pairs = [(key, before.get(key, "none"), now.get(key, "none")) for key in keys]
    # Not by ==, which nan is never and 1 is True.
    return [(key, old, new) for key, old, new in pairs if repr(old) != repr(new)]


def _target_modules(value: Any) -> Iterator[str]:
    """Top-level names of the packages that a configuration names."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str):
            yield target.partition(".")[0]
        for part in value.values():
            yield from _target_modules(part)
    elif isinstance(value, list):
        for part in value:
            yield from _target_modules(part)


def _files(module: str) -> Iterator[tuple[str, str]]:
    """Name and fingerprint of each source file of a package; none of an installed stranger's."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return
    origin = Path(spec.origin)
    if module not in OURS and "site-packages" in origin.parts:
        return
    package = spec.submodule_search_locations is not None
    root = origin.parent.parent if package else origin.parent
    for path in sorted(origin.parent.rglob("*.py")) if package else [origin]:
        yield path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
