"""Flower's simulation engine for one run: SuperLink, SuperExec, Ray and `flwr run`.

Every run has its own home (`$FLWR_HOME`, Ray's folder and sockets), port and process group, which
are removed when it ends.
"""

import os
import re
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import tomli_w

from fedlocal.flower.app_bundle import MARK
from fedlocal.flower.isolation import free_port, new_home, private_environment
from fedlocal.flower.processes import process_group

# Number of lines of a failed run's log in its error.
TAIL = 40

# Attempts to find a free port.
PORTS = 3

# Log lines of Flower's web server when it serves, or cannot; seconds that it may take, and between
# two checks.
SERVING = "Uvicorn running on"
PORT_TAKEN = "address already in use"
PATIENCE = 120.0
LOOK = 0.02

# Runs a command of Flower as its script does, but imports it before the start signal: the imports
# take as long as the start of the SuperLink.
WARM = """\
import sys
from importlib.metadata import entry_points
command = next(iter(entry_points(group="console_scripts", name={name!r}))).load()
sys.stdin.readline()
sys.exit(command())
"""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class EngineError(RuntimeError):
    """Failure of a run on Flower's engine; the message holds the reason and the end of its log."""


class _PortTaken(EngineError):
    """Raised if another program took the free port first."""


@dataclass(frozen=True)
class Engine:
    """Simulated nodes, run by Ray actors in processes of their own.

    Attributes:
        supernodes: Number of nodes. Each has a partition-id, which any actor may serve.
        cpus: Cores that Ray reserves per actor; they determine the number of actors.
        gpus: GPUs that Ray reserves per actor; 0.25 lets four actors share one, with 0 they see
            none.
    """

    supernodes: int = 2
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for an engine without nodes, or nodes without a core."""
        if self.supernodes < 1:
            raise ValueError(f"supernodes must be >= 1, got {self.supernodes}")
        if self.cpus < 1 or self.cpus != int(self.cpus):
            raise ValueError(f"cpus must be a whole number >= 1, got {self.cpus}")
        if self.gpus < 0:
            raise ValueError(f"gpus must be >= 0, got {self.gpus}; 0.5 lets two share one")

    def federation_config(self) -> str:
        """Return the value of `flwr run --federation-config`."""
        # Ray fills all cores with actors, so it is given no more cores than the nodes can use;
        # and at least as many as one actor needs.
        cores = max(self.cpus, min(self.supernodes * self.cpus, _cores()))
        return (
            f"num-supernodes={self.supernodes} client-resources-num-cpus={int(self.cpus)}"
            f" client-resources-num-gpus={float(self.gpus)} init-args-num-cpus={int(cores)}"
        )


def run_app(app: Path, engine: Engine = Engine(), on_line: Callable[[str], None] = print) -> None:
    """Run an app to its end; its processes are gone afterwards, even after an exception or a kill.

    The app's processes have this one's working directory, environment and `sys.path`.

    Args:
        app: Folder written by `write_app`.
        engine: The simulated nodes.
        on_line: Called with every line that Flower and the app print, up to a second later.

    Raises:
        EngineError: The engine did not start, or the ServerApp raised.
    """
    for _ in range(PORTS):
        try:
            return _run(app, engine, on_line)
        except _PortTaken:
            continue
    raise EngineError(f"{PORTS} ports in a row were taken just after they had been found free")


def _run(app: Path, engine: Engine, on_line: Callable[[str], None]) -> None:
    home, port, mark = new_home(), free_port(), secrets.token_hex(8)
    env = private_environment(home) | {MARK: mark}
    own = {"address": f"127.0.0.1:{port}", "insecure": True}
    with process_group(home) as start, open(home / "engine.log", "w", encoding="utf-8") as log:
        settings = tomli_w.dumps({"superlink": {"own": own}})
        (home / "config.toml").write_text(settings, encoding="utf-8")
        options = {"stdin": PIPE, "stdout": log, "stderr": STDOUT, "env": env}
        # For any level of the app: the line that shows that it serves is an INFO.
        link = start(_superlink(port), **options | {"env": env | {"FLWR_LOG_LEVEL": "INFO"}})
        executor = start(_superexec(port), **options)
        run = start(_flwr_run(app, engine), **options | {"stdout": PIPE})
        _await_serving(link, home / "engine.log")
        for waiting in (executor, run):
            _begin(waiting)
        assert run.stdout
        _follow(run.stdout, mark, on_line)


def _superlink(port: int) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port), "--insecure"]
    # The SuperLink's own SuperExec would leave the process group, and start only now.
    return ["flower-superlink", "--simulation", *where, "--isolation", "process"]


def _superexec(port: int) -> list[str]:
    code = WARM.format(name="flower-superexec")
    return [
        sys.executable,
        "-P",
        "-c",
        code,
        "--insecure",
        "--runtime-api-address",
        f"127.0.0.1:{port}",
    ]


def _flwr_run(app: Path, engine: Engine) -> list[str]:
    code = WARM.format(name="flwr")
    nodes = ["--federation-config", engine.federation_config()]
    return [sys.executable, "-P", "-c", code, "run", str(app.resolve()), "own", "--stream", *nodes]


def _cores() -> int:
    """Return the number of cores that this process may use, where the system reports it."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _await_serving(link: Popen[str], log: Path) -> None:
    """Wait until the SuperLink of this run accepts requests, which only its own log shows."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ended = link.poll() is not None or time.monotonic() > deadline
        text = log.read_text(encoding="utf-8", errors="replace")
        if SERVING in text:
            return
        if ended:
            kind = _PortTaken if PORT_TAKEN in text else EngineError
            raise kind("\n".join(["flower-superlink has not started:", *text.splitlines()[-TAIL:]]))
        time.sleep(LOOK)


def _begin(waiting: Popen[str]) -> None:
    assert waiting.stdin
    with waiting.stdin as line:
        line.write("\n")


def _follow(lines: Iterable[str], mark: str, on_line: Callable[[str], None]) -> None:
    """Forward printed lines until the marker; raise unless "completed" follows it."""
    tail: deque[str] = deque(maxlen=TAIL)
    outcome = "failed: its processes have ended before the ServerApp did"
    for line in lines:
        text, marked, behind = COLOUR.sub("", line.rstrip("\n")).partition(f"{mark} ")
        if text or not marked:
            tail.append(text)
            on_line(text)
        if marked:
            outcome = behind
            break
    if outcome != "completed":
        raise EngineError("\n".join([f"the Flower run has {outcome}", *tail]))
