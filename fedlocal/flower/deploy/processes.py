"""Programs that can be ended together with everything they start.

Flower's programs start others, some of them detached. All inherit a mark in their environment, by
which they are found.

This file is also a program, `python -P processes.py MARK`: it waits until its input is closed,
which happens at any end of its parent, and ends all processes with the mark.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

MARK = "FEDLOCAL_DEPLOYMENT"
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Program:
    """Program to start.

    Attributes:
        command: Path of the program, and its arguments.
        environment: Variables besides those of this process.
    """

    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Running:
    """Started program.

    Attributes:
        process: The program itself.
        mark: Mark of the program and of everything it started.
    """

    process: subprocess.Popen[bytes]
    mark: str


def new_mark(within: str = "") -> str:
    """Return a new mark; ending the processes of the mark `within` ends its processes too."""
    return f"{within}/{secrets.token_hex(8)}"


def start(
    program: Program, mark: str, output: int | IO[bytes] | None = None, cwd: Path | None = None
) -> Running:
    """Start a program in its own session, which a terminal's Ctrl-C does not reach."""
    environment = {**os.environ, **program.environment, MARK: mark}
    process = subprocess.Popen(
        program.command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )
    return Running(process, mark)


def kill(running: Running) -> None:
    """Kill a program and everything it started."""
    running.process.kill()
    # Kill the process group where environments cannot be read.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    kill_marked(running.mark)


def kill_marked(mark: str) -> None:
    """Kill every process with the mark, including those started meanwhile."""
    while found := find_marked(mark):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def find_marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry the mark or one nested in it (Linux only)."""
    # psutil gives None where the environment is not readable.
    return [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARK, "").startswith(mark)
    ]


def supervise(program: Program, beside: Program | None = None) -> int:
    """Run a program in the foreground, pass SIGTERM and SIGINT on, and leave no process behind.

    Args:
        program: The program.
        beside: Helper started with it, which ends by itself. If it fails, the program is ended.

    Returns:
        Exit code for this process; 0 only if the program was asked to end.
    """
    running: list[Running] = []
    with _passed_on(running) as received:
        try:
            running.append(start(program, new_mark()))
            if received:
                running[0].process.send_signal(received[-1])
            helped = beside is None or _helped(running[0], beside)
            code = running[0].process.wait()
        finally:
            for one in running:
                kill(one)
    if not helped:
        return 1
    if received:
        return 0
    return code or 1 if code >= 0 else 128 - code


@contextmanager
def _passed_on(running: list[Running]) -> Iterator[list[int]]:
    """Pass signals on to the running programs, and record them."""
    received: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        received.append(number)
        for one in running:
            one.process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _helped(running: Running, beside: Program) -> bool:
    """Return whether the helper succeeded, once one of both has ended; if not, end the program."""
    helper = start(beside, new_mark(running.mark))
    try:
        while helper.process.poll() is None and running.process.poll() is None:
            time.sleep(0.05)
        failed = bool(helper.process.returncode)
        if failed:
            running.process.terminate()
        return not failed
    finally:
        kill(helper)


def main() -> None:
    """Wait for the end of the parent, then kill all processes with the mark."""
    sys.stdin.read()
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
