"""Flower's simulation engine, started for one run: SuperLink, SuperExec, Ray, and `flwr run`.

A run shares nothing with another: it has a home (`$FLWR_HOME`, Ray's folder and sockets), a port
and a group of processes of its own, and all of them are gone when it has ended.
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
from fedlocal.flower.home import free_port, new_home, private_environment
from fedlocal.flower.processes import process_group

# Lines of a failed run's log that its error shows.
TAIL = 40

# How often a port is looked for.
PORTS = 3

# What Flower's web server writes when it serves, or cannot; seconds that it may take, and between
# two looks.
SERVING = "Uvicorn running on"
PORT_TAKEN = "address already in use"
PATIENCE = 120.0
LOOK = 0.02

# Runs a command of Flower's as its script would, but imports it before it is told to begin: the
# imports take as long as the SuperLink needs to start.
WARM = "import sys; from {module} import {command}; sys.stdin.readline(); sys.exit({command}())"

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class EngineError(RuntimeError):
    """A run on Flower's engine has failed; the message has the reason and the end of its log."""


class _PortTaken(EngineError):
    """Another program was faster to use the port that was free a moment ago."""


@dataclass(frozen=True)
class Engine:
    """The simulated nodes, which Ray's actors take the place of, a process each.

    Attributes:
        supernodes: How many there are. Each has a partition-id, which any actor may work for.
        cpus: Cores that Ray reserves for an actor: there are as many actors as that allows.
        gpus: GPUs that Ray reserves for an actor; 0.25 lets four share one, with 0 they see none.
    """

    supernodes: int = 2
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an engine without nodes, and nodes without a core."""
        if self.supernodes < 1:
            raise ValueError(f"supernodes must be >= 1, got {self.supernodes}")
        if self.cpus < 1 or self.cpus != int(self.cpus):
            raise ValueError(f"cpus must be a whole number >= 1, got {self.cpus}")
        if self.gpus < 0:
            raise ValueError(f"gpus must be >= 0, got {self.gpus}; 0.5 lets two share one")

    def federation_config(self) -> str:
        """What `flwr run --federation-config` takes."""
        # Ray fills its cores with actors, so it is told of no more cores than the nodes can use;
        # and of as many as one actor needs, without which there would be none.
        cores = max(self.cpus, min(self.supernodes * self.cpus, _cores()))
        return (
            f"num-supernodes={self.supernodes} client-resources-num-cpus={int(self.cpus)}"
            f" client-resources-num-gpus={float(self.gpus)} init-args-num-cpus={int(cores)}"
        )


def run_app(app: Path, engine: Engine = Engine(), on_line: Callable[[str], None] = print) -> None:
    """Run an app to its end; what was started is gone then, even if this raises or is killed.

    The app's processes have this one's working directory, environment and `sys.path`.

    Args:
        app: A folder that `write_app` has filled.
        engine: The simulated nodes.
        on_line: Called with every line that Flower and the app print, up to a second later.

    Raises:
        EngineError: The engine has not started, or the ServerApp has raised.
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
        (home / "config.toml").write_text(tomli_w.dumps({"superlink": {"own": own}}))
        options = {"stdin": PIPE, "stdout": log, "stderr": STDOUT, "env": env}
        # Whatever the app's level is: what tells that it serves is an INFO.
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
    # Its own SuperExec would leave the process group, and start only now.
    return ["flower-superlink", "--simulation", *where, "--isolation", "process"]


def _superexec(port: int) -> list[str]:
    code = WARM.format(module="flwr.supercore.cli", command="flower_superexec")
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
    code = WARM.format(module="flwr.cli.app", command="app")
    nodes = ["--federation-config", engine.federation_config()]
    return [sys.executable, "-P", "-c", code, "run", str(app.resolve()), "own", "--stream", *nodes]


def _cores() -> int:
    """How many cores this process may use, where the system tells."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _await_serving(link: Popen[str], log: Path) -> None:
    """Return when the SuperLink takes requests: this one, which only its own log can tell."""
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
    """Hand on what is printed until the mark comes; raise unless "completed" stands behind it."""
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
