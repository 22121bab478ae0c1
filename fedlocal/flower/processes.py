"""Process groups that end with the process that started them.

Flower's and Ray's processes start further ones and outlive one another. All of them stay in one
process group, whose leader is a small guard: this file, run as a script. It reads a pipe until the
starting process closes it or dies, and then kills the group. Nothing is left after an exception, a
second Ctrl-C or `kill -9`.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import psutil

# Function that starts a program of the group, with the arguments of Popen.
Start = Callable[..., Popen[str]]

# Seconds until killed processes are gone, unless a driver blocks them.
GRACE = 10.0


@contextmanager
def process_group(folder: Path) -> Iterator[Start]:
    """Yield a function that starts programs; none of them, nor their children, outlives the block.

    They are not in the terminal's foreground, so Ctrl-C reaches the starting process only.

    Args:
        folder: Deleted with its content when the programs have ended.
    """
    command = [sys.executable, "-I", __file__, str(folder)]
    guard = Popen(command, stdin=PIPE, stdout=PIPE, process_group=0)
    started: list[Popen[Any]] = [guard]

    def start(command: list[str], **options: Any) -> Popen[str]:
        given = {"stdin": DEVNULL, "encoding": "utf-8", "errors": "replace"} | options
        started.append(Popen(command, process_group=guard.pid, **given))
        return started[-1]

    try:
        yield start
    finally:
        _stop(guard)
        for process in started:
            with process:
                pass


def _stop(guard: Popen[bytes]) -> None:
    """Kill the group through its guard, and wait until it has ended."""
    assert guard.stdin and guard.stdout
    # Written and not only closed: a forked child of this process may hold the pipe open.
    with suppress(BrokenPipeError), guard.stdin as line:
        line.write(b".")
    guard.stdout.read()
    # For a guard that somebody has killed: its id stays taken until it is waited for. On a Mac a
    # group of dead processes is an error.
    with suppress(OSError):
        os.killpg(guard.pid, signal.SIGKILL)


def _guard(folder: str) -> None:
    """Wait for a signal or the end of the input, then kill this process' group."""
    sys.stdin.read(1)
    group = os.getpgrp()
    if os.fork():
        signal.pause()
    # The leader dies with its group; its child leaves the group, to see to the rest.
    os.setsid()
    os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + GRACE
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def _alive(group: int) -> bool:
    """Whether a process of the group still runs; a dead one that nobody has waited for does not."""
    for process in psutil.process_iter(["status"]):
        with suppress(OSError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == group:
                return True
    return False


if __name__ == "__main__":
    _guard(sys.argv[1])
