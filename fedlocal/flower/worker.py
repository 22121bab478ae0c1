"""Long-lived process behind the short-lived ClientApp processes, one per SuperNode.

Flower starts a new ClientApp process for every message, which would import torch, set up CUDA and
load its data again. `call` runs a function in a worker that has done so before. The worker is only
a
cache: all of its content can be recomputed, and it may end between two calls. Only the standard
library is imported here, since every message pays for it.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from pkgutil import resolve_name
from secrets import token_bytes
from typing import Any

from fedlocal.flower.worker_node import PROC, Process, node_process

SOCKET, KEY, LOG = "socket", "key", "log"
LONGEST = 103  # bytes that every system takes as the address of a socket in the file system
GONE = (FileNotFoundError, ConnectionError, EOFError)


class WorkerError(RuntimeError):
    """The worker could not be started, or ended during a call."""


@dataclass(frozen=True)
class Worker:
    """Start parameters of a worker; a worker with other parameters is replaced."""

    node: Process
    path: tuple[str, ...]
    idle_seconds: float

    @property
    def ticket(self) -> bytes:
        """Digest of the start parameters, equal for callers that may share a worker."""
        return json.dumps([self.node, self.path, self.idle_seconds]).encode()


def call(
    folder: Path | None,
    entry: str,
    *args: Any,
    idle_seconds: float = 1800.0,
    node: Process | None = None,
) -> Any:
    """Run `module:function` with these arguments in the worker of this folder.

    A worker is started when there is none, or when the present one belongs to another node or
    imports from other paths. It serves one call at a time and ends with its node. Arguments and
    result are
    pickled: with NumPy arrays and plain values the caller needs no torch.

    Args:
        folder: Folder of the worker's socket, key and log, accessible to this user only. None: run
            the function in this process, as on systems without /proc.
        entry: `module:function`, importable under the caller's `sys.path`.
        *args: Arguments of the function.
        idle_seconds: Seconds without a call after which the worker ends.
        node: Process that the worker must not outlive; the SuperNode above the caller.

    Raises:
        Exception: Exception of the function, with the worker's traceback as a note.
        WorkerError: The worker ended during the call; the next call starts a new one.
        PermissionError: The folder is accessible to others.
        ValueError: The folder's path is too long for a socket.
    """
    if folder is None or not PROC.is_dir():
        return resolve_name(entry)(*args)
    path = tuple(os.path.abspath(place) for place in sys.path)
    worker = Worker(node or node_process(), path, idle_seconds)
    request = pickle.dumps((entry, args))
    with _locked(_private(folder)):
        with _connected(folder, worker) or _started(folder, worker) as connection:
            returned, value = pickle.loads(_answer(connection, request, folder))
    if not returned:
        raise value
    return value


def _private(folder: Path) -> Path:
    if len(os.fsencode(folder / SOCKET)) > LONGEST:
        raise ValueError(
            f"the worker's folder may have {LONGEST - len(SOCKET) - 1} bytes, for the sake of its"
            f" socket; give a shorter one than {folder}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"the worker's folder must be open to its user alone, but {folder} belongs to user"
            f" {found.st_uid} with mode {found.st_mode & 0o777:o}; chmod 700 it or give another"
        )
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the callers' lock, from the search for a worker to its answer."""
    from fcntl import LOCK_EX, flock  # not on every system, where `call` never comes here

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connected(folder: Path, worker: Worker) -> Connection | None:
    """Return a connection to the worker, None if none with these start parameters runs."""
    try:
        connection = Client(str(folder / SOCKET), "AF_UNIX", authkey=(folder / KEY).read_bytes())
    except (*GONE, AuthenticationError):
        return None
    try:
        connection.send_bytes(worker.ticket)
        connection.recv_bytes()
        return connection
    except GONE:
        connection.close()
        return None


def _started(folder: Path, worker: Worker) -> Connection:
    (folder / KEY).unlink(missing_ok=True)
    (folder / SOCKET).unlink(missing_ok=True)
    with open(os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as key:
        key.write(token_bytes(32))
    _launch(folder, worker)
    connection = _connected(folder, worker)
    if connection is None:
        raise WorkerError(f"the worker did not start; {folder / LOG} says why")
    return connection


def _launch(folder: Path, worker: Worker) -> None:
    """Start the process and wait until it listens or has ended."""
    module = "fedlocal.flower.worker_process"
    ready, tell = os.pipe()
    with open(ready, "rb") as answer:
        try:
            with open(folder / LOG, "ab") as log:
                # The worker leaves this session and forks, so this process ends at once.
                subprocess.run(
                    [sys.executable, "-P", "-m", module, str(folder), worker.ticket, str(tell)],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(worker.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[tell],
                    start_new_session=True,
                    check=False,
                )
        finally:
            os.close(tell)
        answer.read(1)


def _answer(connection: Connection, request: bytes, folder: Path) -> bytes:
    try:
        connection.send_bytes(request)
        return connection.recv_bytes()
    except GONE as error:
        raise WorkerError(
            "the worker ended in the middle of a call, perhaps killed for want of memory; its last"
            f" words are in {folder / LOG}, and the next call starts a new one"
        ) from error
