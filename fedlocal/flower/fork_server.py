"""flwr-clientapp forked from a process of the node that has imported everything already.

A SuperExec finds the command flwr-clientapp on its PATH; `supernode` puts `main` there first. Each
message then costs a fork instead of more than a second of imports. If anything fails, the process
becomes the real flwr-clientapp, so no message is lost.
"""

import atexit
import os
import runpy
import shutil
import signal
import sys
import threading
import traceback
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from socket import AF_UNIX, recv_fds, send_fds, socket
from typing import Any, NamedTuple, NoReturn

from fedlocal.flower.worker import call
from fedlocal.flower.worker_node import PROC

START = "fedlocal.flower.fork_server:start"
STREAMS = (0, 1, 2)


class Program(NamedTuple):
    """Python program with the arguments, environment and paths of its execution."""

    file: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    path: list[str]


def main(folder: str, path: list[str]) -> None:
    """Run flwr-clientapp with the arguments, environment and streams of this process.

    Args:
        folder: Folder of the node that holds the calling script; it is removed from the PATH.
        path: sys.path of the app.
    """
    places = os.environ["PATH"].split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(place for place in places if place != folder)
    file = shutil.which("flwr-clientapp")
    if file is None:
        sys.exit("there is no program flwr-clientapp on the PATH; pip install 'flwr[simulation]'")
    arguments = sys.argv[1:]
    try:
        program = Program(file, arguments, os.getcwd(), dict(os.environ), path)
        _start_in_worker(Path(folder), program)
    except Exception as error:
        # A worker that died during the call has almost certainly not forked.
        print(f"WARNING : {error}; flwr-clientapp starts slowly", file=sys.stderr, flush=True)
        os.execv(file, [file, *arguments])


def _start_in_worker(folder: Path, program: Program) -> None:
    if not PROC.is_dir():
        raise FileNotFoundError(f"there is no {PROC}")
    address = folder / f"streams-{os.getpid()}"
    with socket(AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        threading.Thread(target=_hand_over, args=(server,), daemon=True).start()
        call(folder / "worker", START, str(address), *program)
    address.unlink(missing_ok=True)


def _hand_over(server: socket) -> None:
    """Pass the standard streams to the connecting process.

    Reopened by name, files would be overwritten.
    """
    with suppress(OSError):
        connection, _ = server.accept()
        with connection:
            send_fds(connection, [b"-"], STREAMS)


def start(address: str, *program: Any) -> None:
    """Fork a process in the worker that runs this `Program`, and return at once.

    Raises:
        ConnectionError: The caller's streams did not arrive.
    """
    _import_program()
    with socket(AF_UNIX) as caller:
        caller.connect(address)
        _, streams, _, _ = recv_fds(caller, 1, len(STREAMS))
    try:
        if len(streams) != len(STREAMS):
            raise ConnectionError("the caller's standard streams did not come")
        # No process waits for the children.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        # The worker's other thread, which watches the node, holds no lock that the child will take:
        # it reads /proc and waits for an event of its own. Python and the C library look after
        # theirs in a fork, and so does OpenBLAS, whose threads NumPy starts at its import.
        if os.fork() == 0:
            _run(streams, Program(*program))
    finally:
        for stream in streams:
            os.close(stream)


@cache
def _import_program() -> None:
    """Import what flwr-clientapp will, so that its forks need not."""
    for program in entry_points(group="console_scripts", name="flwr-clientapp"):
        with suppress(ImportError, AttributeError):
            program.load()


def _run(streams: list[int], program: Program) -> NoReturn:
    """Run the program in this process to its end."""
    try:
        _forget_worker(streams)
        os.chdir(program.folder)
        os.environ.clear()
        os.environ.update(program.environment)
        sys.path[:] = program.path
        sys.argv = [program.file, *program.arguments]
        runpy.run_path(program.file, run_name="__main__")
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        _end()


def _forget_worker(streams: list[int]) -> None:
    """Drop everything of the worker but its imports."""
    for number, stream in zip(STREAMS, streams, strict=True):
        os.dup2(stream, number)
    # A caller would wait for a dead worker whose socket is still open here.
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in STREAMS:
            with suppress(OSError):
                os.close(int(name))
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # The app may contain a fedlocal of its own.
    for name in [name for name in sys.modules if name.partition(".")[0] == "fedlocal"]:
        del sys.modules[name]
    # Python's generator gets a new seed in a fork, NumPy's would be the same for every message.
    if generator := sys.modules.get("numpy.random"):
        generator.seed()


def _end() -> NoReturn:
    """Shut down as the interpreter does; unwinding would run the worker's frames."""
    try:
        # As multiprocessing does in its forks.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)
