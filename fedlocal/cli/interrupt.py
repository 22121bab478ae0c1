"""Deferral of SIGINT and SIGTERM to the end of a round."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Run that ended between two rounds because of a signal.

    Attributes:
        folder: Folder of the run.
        code: Exit code of the process, 128 plus the signal's number.
    """

    def __init__(self, message: str, folder: Path, number: int) -> None:
        super().__init__(message)
        self.folder = folder
        self.code = 128 + number


@contextmanager
def defer_signals() -> Iterator[list[int]]:
    """Record a signal in the list instead of acting on it; a second one ends the run at once.

    Threads other than the main one receive no signals, so nothing is deferred there.
    """
    held: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        held.append(number)
        if len(held) > 1:
            raise KeyboardInterrupt
        print("fedlocal: the round is finished first; once more ends at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
