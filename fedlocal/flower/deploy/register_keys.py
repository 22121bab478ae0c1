"""Registration of the nodes' public keys at a SuperLink that is starting.

A program, `python -P register_keys.py PATH/flwr CONNECTION KEY.pub...`: it runs the command
`flwr supernode register` once per key in one process, since its imports dominate.
"""

import io
import os
import runpy
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

# Seconds until the SuperLink listens; many on a busy small machine.
PATIENCE_SECONDS = 120.0


def main() -> None:
    """Register every key; exit with code 1 and Flower's answer if one is refused."""
    flwr, connection, *keys = sys.argv[1:]
    for key in keys:
        answer = _register(flwr, connection, key)
        if "registered successfully" in answer:
            print(f"node {Path(key).stem}: registered", flush=True)
        elif "already in use" in answer:
            print(f"node {Path(key).stem}: known", flush=True)
        else:
            sys.exit(f"node {Path(key).stem}: its key {key} was not registered:\n{answer}")


def _register(flwr: str, connection: str, key: str) -> str:
    """Return Flower's answer as soon as the SuperLink responds."""
    parent, end = os.getppid(), time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = _run(flwr, "supernode", "register", key, connection)
        if "unavailable" not in answer or time.monotonic() > end or os.getppid() != parent:
            return answer
        time.sleep(0.1)


def _run(program: str, *arguments: str) -> str:
    """Run a command-line program in this process and return its output."""
    sys.argv = [program, *arguments]
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit:
            pass
    return output.getvalue()


if __name__ == "__main__":
    main()
