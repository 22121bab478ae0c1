"""What a machine is told: superlink.toml and node.toml in its folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from os import fsencode
from os.path import abspath
from pathlib import Path

SUPERLINK_SETTINGS, NODE_SETTINGS = "superlink.toml", "node.toml"
Value = str | int | float | bool
# Keys of a node's configuration that name something on its disk.
PATHS = ("data", "state", "classes", "worker")
# What a worker adds to its folder, and bytes that every system takes as the address of a socket.
_SOCKET, _LONGEST = "socket", 103


@dataclass(frozen=True)
class NodeSettings:
    """What a SuperNode is told.

    Attributes:
        superlink: Where the SuperLink listens, HOST:PORT.
        node_config: What the app reads in `context.node_config`; paths are absolute.
    """

    superlink: str
    node_config: Mapping[str, Value]


def load_port(superlink: Path) -> int:
    """The port in a SuperLink's settings.

    Raises:
        FileNotFoundError: Not a SuperLink's folder.
        ValueError: Settings that cannot be read.
    """
    port = _load_toml(superlink / SUPERLINK_SETTINGS).get("port")
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"{superlink / SUPERLINK_SETTINGS}: port must be 1 to 65535, got {port}")
    return port


def load_node(node: Path) -> NodeSettings:
    """A SuperNode's settings; relative paths in them count from its folder.

    Raises:
        FileNotFoundError: Not a node's folder.
        ValueError: Settings that cannot be read.
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
    """Where a node keeps its state and its worker unless told otherwise: in its own folder.

    A folder whose path is too long for a socket leaves the node without a worker.
    """
    folders = {name: abspath(node / name) for name in ("state", "worker")}
    if len(fsencode(Path(folders["worker"]) / _SOCKET)) > _LONGEST:
        del folders["worker"]
    return dict(folders)


def absolute_paths(config: Mapping[str, Value], origin: Path) -> dict[str, Value]:
    """The same with the paths in it absolute, since the app runs elsewhere."""
    return {
        key: abspath(origin / Path(value).expanduser())
        if key in PATHS and isinstance(value, str) and value
        else value
        for key, value in config.items()
    }


def address(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(superlink: str) -> tuple[str, int]:
    """The two halves of HOST:PORT; raises ValueError if it is none."""
    host, _, number = superlink.rpartition(":")
    if not host or not number.isdigit() or "/" in host:
        raise ValueError(f"superlink must be HOST:PORT without https://, got {superlink!r}")
    return host.strip("[]"), int(number)


def existing(path: Path) -> Path:
    """The path itself; raises FileNotFoundError if no file is there."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; `fedlocal-deploy init DIR` makes such folders")
    return path


def _load_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(existing(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
