"""Process of the node that a worker belongs to, and whether it is alive; reads Linux's /proc."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# What a SuperNode is called: Flower's program, and ours around it, as a module and as a file.
SUPERNODES = ("flower-supernode", "fedlocal.flower.supernode", "supernode.py")
WORKER = "fedlocal.flower.worker_process"


class Process(NamedTuple):
    """A process beyond the reuse of its id: when it started, in clock ticks since the boot."""

    pid: int
    started: int


def process(pid: int) -> Process | None:
    """Return the process of this id, None if there is none or only its exit status is left."""
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields and fields[0] not in "ZX" else None


def alive(one: Process) -> bool:
    """Whether this very process still runs."""
    return process(one.pid) == one


def node_process() -> Process:
    """Return the SuperNode above this process; else its SuperExec, else its parent.

    Under `--isolation process` the SuperExec does not descend from the SuperNode. What a worker
    starts is on its worker's node.
    """
    line = [(one, _words(one.pid)) for one in _lineage()]
    for _, words in line:
        if WORKER in words[:4]:
            return _node_of_worker(words)
    for commands in (SUPERNODES, ("flower-superexec",)):
        for one, words in line:
            # The interpreter, its options, the program.
            if any(Path(word).name in commands for word in words[:4]):
                return one
    # The first process of a container has no parent.
    return line[min(1, len(line) - 1)][0]


def _node_of_worker(words: list[str]) -> Process:
    """Return the node in a worker's command line: ... MODULE FOLDER TICKET READY."""
    node, *_ = json.loads(words[words.index(WORKER) + 2])
    return Process(*node)


def _lineage() -> Iterator[Process]:
    """Yield this process, its parent, and so on."""
    pid = os.getpid()
    while (one := process(pid)) is not None:
        yield one
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0


def _words(pid: int) -> list[str]:
    """Return the command line of a process; empty if it is gone."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold anything."""
    try:
        return (
            (PROC / str(pid) / "stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return []
