"""Which process a worker belongs to, and whether it still lives. Linux: read from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """A process beyond the reuse of its id: when it started, in clock ticks since the boot."""

    pid: int
    started: int


def process(pid: int) -> Process | None:
    """The process of this id, None if there is none or only its exit status is left."""
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields and fields[0] not in "ZX" else None


def alive(one: Process) -> bool:
    """Whether this very process still runs."""
    return process(one.pid) == one


def node_process() -> Process:
    """The SuperNode above this process; else the SuperExec that started it, else its parent.

    Under `--isolation process` the SuperExec does not descend from the SuperNode.
    """
    line = list(_lineage())
    for command in ("flower-supernode", "flower-superexec"):
        for one in line:
            if command in _commands(one.pid):
                return one
    # The first process of a container has no parent.
    return line[min(1, len(line) - 1)]


def _lineage() -> Iterator[Process]:
    """This process, its parent, and so on."""
    pid = os.getpid()
    while (one := process(pid)) is not None:
        yield one
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0


def _commands(pid: int) -> list[str]:
    """Names in the first words of a command line: the interpreter, its options, the program."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [Path(os.fsdecode(word)).name for word in words[:4]]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
