"""The Flower programs that a deployment consists of: their flags and their environment."""

import os
import shlex
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli_w

from fedlocal.flower.deploy import folders
from fedlocal.flower.deploy.processes import Program
from fedlocal.flower.deploy.settings import NodeSettings, Value, address
from fedlocal.flower.isolation import QUIET, free_port
from fedlocal.utils.atomic import write_atomically

# The connection's name for `flwr run APP NAME`.
CONNECTION = "fedlocal"
# The SuperLink's database, in its folder.
STATE = "state.db"
# Addresses to listen on that are also reachable through loopback.
LISTEN = ("0.0.0.0", "127.0.0.1", "::")

_HERE = Path(__file__).parent
# Flower's SuperNode without its waits, run by path.
QUICK_SUPERNODE = "supernode.py"
_SCRIPTS = Path(sysconfig.get_path("scripts"))


def home_of(folder: Path) -> Path:
    """Return $FLWR_HOME of a machine's folder: Flower's own files and connections."""
    return folder.absolute() / "flwr"


def superlink_program(
    folder: Path, port: int, listen: str, *, insecure: bool = False, is_open: bool = False
) -> Program:
    """Return the SuperLink on a free port of loopback, behind its gate.

    Args:
        folder: The SuperLink's folder.
        port: The gate's port, over which everything is reached.
        listen: One of `LISTEN`.
        insecure: Neither encryption nor authentication of nodes.
        is_open: Let other machines add nodes and start runs too.
    """
    folder = folder.absolute()
    gate = "--open-gate" if is_open else "--gate"
    return Program(
        [
            *_script("watchdog.py", gate, address(listen, port), flower("flower-superlink")),
            *(["--insecure"] if insecure else _protection(folder)),
            "--disable-runtime-dependency-installation",
            *("--database", str(folder / STATE), "--host", "127.0.0.1", "--port", str(free_port())),
        ],
        environment(home_of(folder)),
    )


def register_program(folder: Path, keys: Sequence[Path]) -> Program:
    """Return the program that registers the nodes' public keys at the SuperLink."""
    return Program(
        _script(
            "register_keys.py", flower("flwr"), CONNECTION, *(str(key.absolute()) for key in keys)
        ),
        environment(home_of(folder)),
    )


def supernode_program(
    folder: Path, settings: NodeSettings, port: int, *, insecure: bool = False, stock: bool = False
) -> Program:
    """Return a SuperNode.

    Args:
        folder: The node's folder.
        settings: Contents of node.toml.
        port: For the app's processes, on loopback only.
        insecure: Neither encryption nor authentication.
        stock: Flower's own program, with its waits between messages.
    """
    folder = folder.absolute()
    program = flower("flower-supernode") if stock else str(_HERE.parent / QUICK_SUPERNODE)
    protection = [
        *("--root-certificates", str(folder / folders.CA)),
        *("--auth-supernode-private-key", str(folder / folders.NODE_KEY)),
    ]
    return Program(
        [
            *_script("watchdog.py", program),
            *(["--insecure"] if insecure else protection),
            *("--superlink", settings.superlink, "--host", "127.0.0.1", "--port", str(port)),
            *("--node-config", config_text(settings.node_config)),
        ],
        environment(home_of(folder)),
    )


def write_connection(folder: Path, port: int, listen: str, *, insecure: bool = False) -> None:
    """Make `flwr run APP` with this $FLWR_HOME use the SuperLink; keep other connections.

    Raises:
        ValueError: The file that is there is no TOML.
    """
    file = home_of(folder) / "config.toml"
    host = "::1" if listen == "::" else "127.0.0.1"
    connection: dict[str, Value] = {"address": address(host, port)}
    if insecure:
        connection["insecure"] = True
    else:
        connection["root-certificates"] = str(folder.absolute() / folders.CA)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: {error}") from error
    content.setdefault("superlink", {}).setdefault("default", CONNECTION)
    content["superlink"][CONNECTION] = connection
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(file, tomli_w.dumps(content))


def config_text(config: Mapping[str, Value]) -> str:
    """Format keys and values as Flower's command line takes them: KEY=VALUE KEY=VALUE.

    Raises:
        ValueError: A text that cannot be written there, or a key that is none.

    >>> config_text({"partition-id": 0, "data": "/srv/my data", "gpu": True})
    "partition-id=0 data='/srv/my data' gpu=true"
    """
    return " ".join(f"{_key(key)}={_value(value)}" for key, value in config.items())


def environment(home: Path) -> dict[str, str]:
    """Return the environment of Flower's programs: their files, each other, no telemetry."""
    return {
        "FLWR_HOME": str(home),
        "PATH": f"{_SCRIPTS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        **{key: os.environ.get(key, value) for key, value in QUIET.items()},
    }


def flower(name: str) -> str:
    """Return the path of one of Flower's programs, first beside this Python.

    Raises:
        FileNotFoundError: It is not installed.
    """
    found = shutil.which(name, path=str(_SCRIPTS)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"there is no program {name}; pip install 'flwr[simulation]'")
    return found


def shown(program: Program) -> str:
    """Format the command as a shell takes it."""
    # Flower's programs find each other on the PATH.
    words = [f'PATH={shlex.quote(str(_SCRIPTS))}:"$PATH"']
    for name, value in program.environment.items():
        if name.startswith("FLWR_"):
            words.append(f"{name}={shlex.quote(value)}")
    return f"{' '.join(words)} {shlex.join(program.command)}"


def _protection(folder: Path) -> list[str]:
    return [
        *("--ssl-certfile", str(folder / folders.SERVER)),
        *("--ssl-keyfile", str(folder / folders.SERVER_KEY)),
        *("--ssl-ca-certfile", str(folder / folders.CA)),
        "--enable-supernode-auth",
    ]


def _script(name: str, *arguments: str) -> list[str]:
    # -P: what lies beside the script must not hide Python's own modules.
    return [sys.executable, "-P", str(_HERE / name), *arguments]


def _key(key: str) -> str:
    if not key.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{key!r} is no key; it has letters, digits, - and _ only")
    return key


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    quote = "'" if "'" not in value else '"'
    if not value.isprintable() or (quote == '"' and ('"' in value or "\\" in value)):
        raise ValueError(f"Flower cannot take this value, with quotes or line breaks: {value!r}")
    return f"{quote}{value}{quote}"
