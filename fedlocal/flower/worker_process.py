"""The worker process: `python -m fedlocal.flower.worker_process FOLDER TICKET READY`."""

import faulthandler
import json
import os
import pickle
import signal
import sys
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener
from pathlib import Path
from pkgutil import resolve_name
from threading import Event, Thread
from time import monotonic
from traceback import format_exc

from fedlocal.flower.worker import GONE, KEY, SOCKET
from fedlocal.flower.worker_node import Process, alive

WATCH_SECONDS = 0.5


def main(folder: Path, ticket: bytes, ready: int) -> None:
    """Serve calls until the node ends, no caller remains, or another worker is wanted."""
    faulthandler.enable()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    key = (folder / KEY).read_bytes()
    served = Event()
    try:
        with Listener(str(folder / SOCKET), "AF_UNIX", backlog=16, authkey=key) as listener:
            Thread(target=_watch, args=(folder, key, ticket, served), daemon=True).start()
            os.write(ready, b"1")
            os.close(ready)
            while _serve_next(listener, folder, ticket):
                served.set()
    finally:
        _remove(folder, key)


def _serve_next(listener: Listener, folder: Path, ticket: bytes) -> bool:
    """Serve one caller; return False if it wants another worker."""
    # A caller without the key, or one that disconnected, does not stop the others.
    with suppress(*GONE, AuthenticationError), listener.accept() as connection:
        if connection.recv_bytes() != ticket:
            # Before the reply, so that the caller later finds no files of this worker.
            listener.close()
            (folder / KEY).unlink(missing_ok=True)
            return False
        connection.send_bytes(b"yes")
        connection.send_bytes(_result(connection.recv_bytes()))
    return True


def _result(request: bytes) -> bytes:
    """Return (True, value) or (False, exception), pickled."""
    try:
        entry, args = pickle.loads(request)
        return pickle.dumps((True, resolve_name(entry)(*args)))
    except Exception as error:
        note = f"in the worker:\n{format_exc()}"
        return pickle.dumps((False, _portable(error, note)))


def _portable(error: Exception, note: str) -> Exception:
    """Return the exception itself, or its text where it cannot be pickled."""
    error.add_note(note)
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.add_note(note)
        return plain


def _watch(folder: Path, key: bytes, ticket: bytes, served: Event) -> None:
    """End the process, also during a call, when its node has ended or it has been idle."""
    node, _, idle_seconds = json.loads(ticket)
    since = monotonic()
    while alive(Process(*node)):
        if served.wait(WATCH_SECONDS):
            served.clear()
            since = monotonic()
        if monotonic() - since > idle_seconds and _nobody_calls(folder):
            break
    _remove(folder, key)
    os._exit(0)


def _nobody_calls(folder: Path) -> bool:
    """Return whether the callers' lock is free; if so, hold it until the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        return True
    except BlockingIOError:
        os.close(descriptor)
        return False


def _remove(folder: Path, key: bytes) -> None:
    """Remove the socket and the key, unless a successor owns them."""
    with suppress(FileNotFoundError):
        if (folder / KEY).read_bytes() == key:
            (folder / SOCKET).unlink(missing_ok=True)
            (folder / KEY).unlink()


if __name__ == "__main__":
    if os.fork() == 0:
        main(Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3]))
