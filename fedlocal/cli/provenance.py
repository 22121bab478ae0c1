"""Origin of a run: configuration, code and package versions; differences between two origins."""

import hashlib
import json
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from fedlocal.config.errors import ConfigError
from fedlocal.utils.atomic import write_atomically
from fedlocal.utils.flat_config import flatten

FILE = "origin.json"
# Keys that may differ at resume: length of the run, tracking, places of files.
FREE = ("rounds", "steps", "evaluate", "goal", "tracking", "checkpoint", "spill")
OURS = ("fedlocal", "strategies", "partitions")
# Number of differences that an error lists.
SHOWN = 8
PACKAGES = ("fedlocal", "torch", "numpy", "hydra-core")


class Origin(NamedTuple):
    """Origin of a run, as stored in JSON.

    overrides: Overrides as given. config: Resolved configuration. code: Digest of each source file.
    versions: Versions of the packages that numbers depend on.
    """

    overrides: list[str]
    config: dict[str, Any]
    code: dict[str, str]
    versions: dict[str, str]


def origin_of(overrides: Sequence[str], config: Mapping[str, Any]) -> Origin:
    """Return the origin of a run with this configuration in this process."""
    modules = sorted({*OURS, *_target_modules(config)})
    code = {name: digest for module in modules for name, digest in _files(module)}
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    plain = json.loads(json.dumps(dict(config)))
    return Origin(list(overrides), plain, code, versions)


def save_origin(folder: Path, origin: Origin) -> None:
    """Write the origin into a run's folder."""
    write_atomically(folder / FILE, json.dumps(origin._asdict(), indent=1) + "\n")


def load_origin(folder: Path) -> Origin:
    """Read the origin of the run in this folder."""
    return Origin(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def check_same(folder: Path, before: Origin, now: Origin, strict: bool) -> None:
    """Refuse to resume a folder with another run than its own.

    Args:
        folder: Folder of the run.
        before: Origin of the run in it.
        now: Origin of the run that would resume it.
        strict: Whether other code is refused; otherwise it warns.

    Raises:
        ConfigError: They differ; the message lists the differences.
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
    """Return one digest of all code of a run."""
    return hashlib.sha256(repr(sorted(origin.code.items())).encode()).hexdigest()


def other_settings(before: Origin, now: Origin) -> list[str]:
    """Return the settings that differ between two runs, a short line each."""
    changes = _changes(flatten(_bound(before.config)), flatten(_bound(now.config)))
    return [f"{key}: {old} -> {new}" for key, old, new in changes]


def other_code(before: Origin, now: Origin) -> list[str]:
    """Return the source files and packages that differ, a short line each."""
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
    # Compared as text, since nan != nan and 1 == True.
    return [(key, old, new) for key, old, new in pairs if repr(old) != repr(new)]


def _target_modules(value: Any) -> Iterator[str]:
    """Return the top-level packages that a configuration names."""
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
    """Yield name and digest of each source file of a package; nothing for third-party code."""
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
