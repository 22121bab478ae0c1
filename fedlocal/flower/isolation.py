"""Isolation of a run of Flower's programs: folder, port and environment."""

import os
import socket
import sys
import sysconfig
import tempfile
from pathlib import Path

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # How often an app's process is looked for. Flower's own 1 s is felt in every round.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
}


def new_home() -> Path:
    """Create an empty folder with a short path, for Flower's state and Ray's sockets."""
    # A socket's path has at most 107 bytes (104 on a Mac), and Ray's take up to 75 of them.
    root = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="fl-", dir=root if len(root) < 24 else "/tmp"))


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def private_environment(home: Path) -> dict[str, str]:
    """Return the environment of this process for Flower and Ray, with all state in `home`.

    Their processes find the same programs and modules, install nothing, contact no outside service,
    and print unbuffered.
    """
    given = os.environ
    programs = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), given.get("PATH")]
    # Flower's programs use a proxy for 127.0.0.1 too, unless it is excluded.
    direct = ",".join(filter(None, [given.get("NO_PROXY") or given.get("no_proxy"), "127.0.0.1"]))
    return (
        given
        | QUIET
        | {
            "FLWR_HOME": str(home),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            # "local" keeps Ray from joining a cluster on this machine.
            "RAY_ADDRESS": "local",
            "RAY_TMPDIR": str(home),
            "RAY_USAGE_STATS_ENABLED": "0",
            "NO_PROXY": direct,
            "no_proxy": direct,
            "PATH": os.pathsep.join(filter(None, programs)),
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        }
    )
