"""One of Flower's servers in this process, which ends when the server has ceased to work.

On a machine short of memory or time two things happen that no supervisor would see. A SuperNode
whose connection breaks in the wrong moment leaves its loop, but its process stays. A server
whose SuperExec dies stays too, and never starts an app again. Both end here with exit code 1, so
that whoever supervises starts them anew.

A program of its own, `python -P host.py [--gate | --open-gate] PATH/flower-X FLAGS...`; --gate
puts the server behind `gate.py`.
"""

import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_GATES = ("--gate", "--open-gate")
# A server that is told to stop ends its SuperExec, and then has this long to end itself.
_GRACE_SECONDS = 10.0


def main() -> None:
    """Run the given program until it ends or has ceased to work."""
    if sys.argv[1] in _GATES:
        _put_behind_gate(is_open=sys.argv.pop(1) == "--open-gate")
    sys.argv = sys.argv[1:]
    threading.Thread(target=_end_with, args=(_noted_superexecs(),), daemon=True).start()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = None
    except SystemExit as end:
        code = end.code
    # Threads may still run, but nobody is left to tell them what to do.
    _exit(code if isinstance(code, int) else 1)


def _put_behind_gate(is_open: bool) -> None:
    import uvicorn

    gate = runpy.run_path(str(Path(__file__).with_name("gate.py")))["gate"]
    load = uvicorn.Config.load

    def load_gated(self: uvicorn.Config) -> None:
        load(self)
        app: Any = self.loaded_app
        # Outermost, so that it sees addresses as the socket has them, not as headers claim.
        self.loaded_app = gate(app, is_open)

    uvicorn.Config.load = load_gated


def _noted_superexecs() -> "list[subprocess.Popen[Any]]":
    """The SuperExecs that this process will start, as they are started."""
    noted: list[subprocess.Popen[Any]] = []
    start = subprocess.Popen.__init__

    def start_noted(self: "subprocess.Popen[Any]", args: Any, *more: Any, **named: Any) -> None:
        start(self, args, *more, **named)
        if isinstance(args, list) and Path(args[0]).name == "flower-superexec":
            noted.append(self)

    subprocess.Popen.__init__ = start_noted
    return noted


def _end_with(superexecs: "list[subprocess.Popen[Any]]") -> None:
    while all(superexec.poll() is None for superexec in superexecs):
        time.sleep(1)
    time.sleep(_GRACE_SECONDS)
    print("the SuperExec has ended, without which no app can start", file=sys.stderr)
    _exit(1)


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
