"""Checks of each end of a deployment before a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedlocal.flower.deploy import checks, folders, network_checks, programs
from fedlocal.flower.deploy.gate import software
from fedlocal.flower.deploy.settings import (
    NODE_SETTINGS,
    SUPERLINK_SETTINGS,
    NodeSettings,
    load_node,
    load_port,
)


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: Subject of the check.
        ok: Whether it passed.
        text: Finding; after a failure, with the fix.
    """

    name: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.text}"


def examine(folder: Path, insecure: bool = False) -> list[Check]:
    """Check a machine's folder, its data and its SuperLink; or the folders of a whole deployment.

    Args:
        folder: Folder of a SuperLink, of a SuperNode, or of the deployment.
        insecure: Whether to skip the checks of encryption and authentication.

    Raises:
        FileNotFoundError: The folder is none of these.
    """
    if (folder / SUPERLINK_SETTINGS).exists():
        return _superlink(folder, insecure)
    if (folder / NODE_SETTINGS).exists():
        return _node(folder, insecure)
    if folders.node_folders(folder):
        return _deployment(folder)
    raise FileNotFoundError(
        f"{folder} holds neither {SUPERLINK_SETTINGS} nor {NODE_SETTINGS} nor nodes/*/"
        f"{NODE_SETTINGS}; `fedlocal-deploy init DIR` makes such folders"
    )


def _superlink(folder: Path, insecure: bool) -> list[Check]:
    ca = None if insecure else folder / folders.CA
    found = [_check("programs", _installed)]
    if not insecure:
        found += _superlink_files(folder)
    return [*found, _check("port", lambda: network_checks.port(load_port(folder), ca))]


def _superlink_files(folder: Path) -> list[Check]:
    return [
        _check("authority", lambda: checks.authority(folder / folders.CA)),
        _check("certificate", lambda: checks.server(folder)),
        _check("private key", lambda: checks.secret(folder / folders.SERVER_KEY)),
        _check("nodes' keys", lambda: checks.public_keys(folder)),
    ]


def _node(folder: Path, insecure: bool) -> list[Check]:
    try:
        settings = load_node(folder)
    except ValueError as error:
        return [Check("settings", False, str(error))]
    ca = None if insecure else folder / folders.CA
    return [
        _check("programs", _installed),
        *([] if insecure else _node_files(folder)),
        *_node_settings(settings),
        *_connection(settings.superlink, ca),
    ]


def _node_files(folder: Path) -> list[Check]:
    return [
        _check("authority", lambda: checks.authority(folder / folders.CA)),
        _check("private key", lambda: checks.secret(folder / folders.NODE_KEY)),
        _check("key", lambda: checks.node_key(folder)),
    ]


def _node_settings(settings: NodeSettings) -> list[Check]:
    config = settings.node_config
    found = [_check("partition", lambda: checks.partition(config))]
    if "data" in config:
        found.append(_check("data", lambda: checks.data(config)))
    if "state" in config:
        found.append(_check("state", lambda: checks.state(config)))
    return found


def _connection(superlink: str, ca: Path | None) -> list[Check]:
    """Check the SuperLink from outside; each step needs the one before."""
    reached = _check("reach", lambda: network_checks.reachable(superlink))
    if not reached.ok:
        return [reached]
    try:
        about = network_checks.answer(superlink, ca)
    except (OSError, ValueError) as error:
        return [reached, Check("SuperLink", False, str(error))]
    encrypted = "not encrypted" if ca is None else "encrypted, and the one of this deployment"
    return [
        reached,
        Check("SuperLink", True, encrypted),
        _check("software", lambda: network_checks.same_software(about)),
        _check("clock", lambda: network_checks.clock(about)),
    ]


def _deployment(folder: Path) -> list[Check]:
    superlink = folder / folders.SUPERLINK
    nodes = folders.node_folders(folder)
    found = [
        _check("authority's key", lambda: checks.secret(folder / folders.CA_KEY)),
        *_superlink_files(superlink),
        _check("partitions", lambda: checks.unique_partitions([load_node(n) for n in nodes])),
    ]
    for node in nodes:
        found.append(_check(f"node {node.name} name", _covered(superlink, node)))
        found += [Check(f"node {node.name} {c.name}", c.ok, c.text) for c in _node_files(node)]
    return found


def _covered(superlink: Path, node: Path) -> Callable[[], str]:
    return lambda: checks.check_covered(superlink, load_node(node))


def _installed() -> str:
    for name in ("flower-superlink", "flower-supernode", "flwr"):
        programs.flower(name)
    missing = [name for name, version in software().items() if version == "not installed"]
    if missing:
        raise ValueError(f"not installed here: {', '.join(missing)}; pip install fedlocal")
    return ", ".join(f"{name} {version}" for name, version in software().items())


def _check(name: str, examination: Callable[[], str]) -> Check:
    try:
        return Check(name, True, examination())
    except (ValueError, OSError) as error:
        return Check(name, False, str(error))
