"""flower-supernode with shorter waits: `python -m fedlocal.flower.supernode ARGUMENTS`.

It is flower-supernode with the same arguments, in this process; `deploy/programs.py` starts it and
chooses the arguments. Three waits make a round of a small
model last five seconds and more: the SuperExec looks for work once a second (an option of Flower
shortens it), flwr-clientapp imports for more than a second (`fork_server` precedes it on the PATH),
and the SuperNode sleeps up to three seconds when it has no message (there is no option: the clock
of that module is replaced). Each measure can fail alone, which costs its seconds only. Without
/proc it is the stock program.
"""

import importlib
import os
import re
import runpy
import shlex
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from fedlocal.flower.worker_node import PROC, Process, alive, process

# Seconds between two requests of an idle node to its SuperLink, instead of three.
LONGEST_SLEEP = 0.2
POLL = "FLWR_SUPEREXEC_TASK_POLL_INTERVAL"
PREFIX = "fedlocal-node-"
# The name holds the owner: id and start of the process.
NAME = re.compile(PREFIX + r"(\d+)-(\d+)-\w+")
CLIENTAPP = """\
#!/bin/sh
exec {python} -P -c {code} "$@"
"""
CODE = """\
import sys
path = list(sys.path)
sys.path.append({root!r})
from fedlocal.flower.fork_server import main
main({folder!r}, path)
"""


def main() -> None:
    """Run flower-supernode in this process."""
    scripts = sysconfig.get_path("scripts")
    # The SuperNode, its SuperExec and the app's processes are of one environment: this one.
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
    program = shutil.which("flower-supernode")
    if program is None:
        sys.exit("there is no program flower-supernode; pip install 'flwr[simulation]'")
    sys.argv[0] = program
    if PROC.is_dir():
        os.environ.setdefault(POLL, str(LONGEST_SLEEP))
        shorten_sleep()
    with warm_apps() if PROC.is_dir() else nullcontext():
        runpy.run_path(program, run_name="__main__")


class Clock:
    """The module time with shorter sleeps."""

    def sleep(self, seconds: float) -> None:
        """Sleep, `LONGEST_SLEEP` at most."""
        time.sleep(min(seconds, LONGEST_SLEEP))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def shorten_sleep(module: str = "flwr.supernode.start_client_internal") -> None:
    """Replace the clock of the SuperNode's loop; warn if there is none."""
    try:
        loop = importlib.import_module(module)
    except ImportError:
        loop = None
    if getattr(loop, "time", None) is time:
        setattr(loop, "time", Clock())  # noqa: B010
    else:
        _warn(f"{module} has no clock to replace in this version of Flower; the node may sleep 3 s")


@contextmanager
def warm_apps() -> Iterator[None]:
    """Put a flwr-clientapp that needs no imports first on the PATH."""
    folder = None
    try:
        _sweep()
        folder = _write_program()
        os.environ["PATH"] = os.pathsep.join([str(folder), os.environ["PATH"]])
    except OSError as error:
        _warn(f"no folder for the quick start of apps: {error}; each will import anew")
    try:
        yield
    finally:
        if folder is not None:
            # The worker in it notices the end of this process a moment later and does not need the
            # folder.
            shutil.rmtree(folder, ignore_errors=True)


def _write_program() -> Path:
    own = process(os.getpid())
    assert own is not None
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{own.pid}-{own.started}-"))
    # Makes this copy of the package importable, after everything else.
    code = CODE.format(root=str(Path(__file__).parents[2]), folder=str(folder))
    text = CLIENTAPP.format(python=shlex.quote(sys.executable), code=shlex.quote(code))
    file = folder / "flwr-clientapp"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o700)
    return folder


def _sweep() -> None:
    """Remove the folders of nodes that were killed.

    A node in another container with the same temporary folder looks dead from here. Its apps then
    start slowly.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        name = NAME.fullmatch(folder.name)
        if name and not alive(Process(int(name[1]), int(name[2]))):
            shutil.rmtree(folder, ignore_errors=True)


def _warn(text: str) -> None:
    print(f"WARNING : {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
