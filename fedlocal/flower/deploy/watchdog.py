"""Watchdog of flower-superlink or flower-supernode: it ends when the program no longer works.

On a machine short of memory or time two things happen that no supervisor would see. A SuperNode
whose connection breaks in the wrong moment leaves its loop, but its process stays. A server
whose SuperExec dies stays too, and never starts an app again. Both end here with exit code 1, so
that whoever supervises starts them anew.

A program of its own: `python -P watchdog.py [--gate | --open-gate HOST:PORT] PATH FLAGS...`.
A gate (`gate_server.py`) listens at HOST:PORT, and forwards to the server what may pass.
"""

import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

_GATES = ("--gate", "--open-gate")
# A server that is told to stop ends its SuperExec, and then has this long to end itself.
_GRACE_SECONDS = 10.0
# Linux keeps 15 characters of a program's name.
_SUPEREXEC = "flower-superexec"[:15]


def main() -> None:
    """Run the given program until it ends or has ceased to work."""
    gate = None
    if sys.argv[1] in _GATES:
        is_open = sys.argv.pop(1) == "--open-gate"
        gate = _start_gate(sys.argv.pop(1), is_open, sys.argv[2:])
    sys.argv = sys.argv[1:]
    threading.Thread(target=_end_with_helpers, args=(gate,), daemon=True).start()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = None
    except SystemExit as end:
        code = end.code
    # Threads may still run, but nobody is left to tell them what to do.
    _exit(code if isinstance(code, int) else 1)


def _start_gate(address: str, is_open: bool, flags: list[str]) -> subprocess.Popen[bytes]:
    # -P: what lies beside the script must not hide Python's own modules.
    command = [sys.executable, "-P", str(Path(__file__).with_name("gate_server.py"))]
    # The gate ends when its input is closed, which happens however this process ends.
    return subprocess.Popen(
        [*command, address, "open" if is_open else "closed", *flags], stdin=subprocess.PIPE
    )


def _end_with_helpers(gate: subprocess.Popen[bytes] | None) -> None:
    known: dict[int, bool] = {}
    # An ended SuperExec is a zombie until it is waited for, and then absent.
    while all((known := dict.fromkeys(known, False) | _superexecs()).values()):
        if gate is not None and gate.poll() is not None:
            print("the gate has ended, without which no node is reached", file=sys.stderr)
            _exit(1)
        time.sleep(1)
    time.sleep(_GRACE_SECONDS)
    print("the SuperExec has ended, without which no app can start", file=sys.stderr)
    _exit(1)


def _superexecs() -> dict[int, bool]:
    """Whether each SuperExec that this process has started still runs, by id (Linux only)."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            start, _, end = file.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue
        state, parent, *_ = end.split()
        if int(parent) == os.getpid() and start.partition("(")[2] == _SUPEREXEC:
            found[int(file.parent.name)] = state != "Z"
    return found


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
