"""Settings of a machine: superlink.toml and node.toml in its folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from os import fsencode
from os.path import abspath
from pathlib import Path

SUPERLINK_SETTINGS, NODE_SETTINGS = "superlink.toml", "node.toml"
Value = str | int | float | bool
# Keys of a node's configuration that hold paths.
PATHS = ("data", "state", "classes", "worker")
# Part that a worker adds to its folder, and bytes of a socket's address that every system accepts.
_SOCKET, _LONGEST = "socket", 103


@dataclass(frozen=True)
class NodeSettings:
    """Settings of a SuperNode.

    Attributes:
        superlink: Address of the SuperLink, HOST:PORT.
        node_config: Content of `context.node_config`; paths are absolute.
    """

    superlink: str
    node_config: Mapping[str, Value]


def load_port(superlink: Path) -> int:
    """Read the port from a SuperLink's settings.

    Raises:
        FileNotFoundError: Not a SuperLink's folder.
        ValueError: Invalid settings.
    """
    port = _load_toml(superlink / SUPERLINK_SETTINGS).get("port")
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"{superlink / SUPERLINK_SETTINGS}: port must be 1 to 65535, got {port}")
    return port


def load_node(node: Path) -> NodeSettings:
    """Read a SuperNode's settings; relative paths in them count from its folder.

    Raises:
        FileNotFoundError: Not a node's folder.
        ValueError: Invalid settings.
    """
    file = node / NODE_SETTINGS
    table = _load_toml(file)
    superlink, config = table.get("superlink"), table.get("node-config")
    if not isinstance(superlink, str) or not isinstance(config, dict):
        raise ValueError(f'{file}: needs superlink = "HOST:PORT" and a table [node-config]')
    odd = [key for key, value in config.items() if not isinstance(value, Value)]
    if odd:
        raise ValueError(
            f"{file}: node-config takes text, numbers, true and false; {odd[0]} is not"
        )
    return NodeSettings(superlink, absolute_paths(config, node))


def own_folders(node: Path) -> dict[str, Value]:
    """Return the default folders of a node's state and worker, within its own folder.

    A node whose path is too long for a socket has no worker.
    """
    folders = {name: abspath(node / name) for name in ("state", "worker")}
    if len(fsencode(Path(folders["worker"]) / _SOCKET)) > _LONGEST:
        del folders["worker"]
    return dict(folders)


def absolute_paths(config: Mapping[str, Value], origin: Path) -> dict[str, Value]:
    """Return the settings with absolute paths, since the app runs elsewhere."""
    return {
        key: abspath(origin / Path(value).expanduser())
        if key in PATHS and isinstance(value, str) and value
        else value
        for key, value in config.items()
    }


def address(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(superlink: str) -> tuple[str, int]:
    """Return the two parts of HOST:PORT; raise ValueError for other texts."""
    host, _, number = superlink.rpartition(":")
    if not host or not number.isdigit() or "/" in host:
        raise ValueError(f"superlink must be HOST:PORT without https://, got {superlink!r}")
    return host.strip("[]"), int(number)


def require_file(path: Path) -> Path:
    """Return the path; raise FileNotFoundError if no file is there."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; `fedlocal-deploy init DIR` makes such folders")
    return path


def _load_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(require_file(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
