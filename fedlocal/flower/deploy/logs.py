"""Programs with a new log file for every start, and waiting for lines in it."""

import time
from pathlib import Path

from fedlocal.flower.deploy.processes import Program, Running, start


def start_logged(folder: Path, name: str, program: Program, mark: str) -> Running:
    """Start a program whose output goes to a new file in `folder`/logs."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{name}.{len(list(logs.iterdir())):04d}.log").open("wb") as output:
        return start(program, mark, output)


def latest_log(folder: Path, name: str) -> str:
    """Return a program's log since its last start."""
    return _logs(folder, name)[-1].read_text(encoding="utf-8", errors="replace")


def whole_log(folder: Path, name: str) -> str:
    """Return a program's log over all its starts."""
    return "".join(
        file.read_text(encoding="utf-8", errors="replace") for file in _logs(folder, name)
    )


def pause(end: float, folder: Path, name: str, seconds: float = 0.1) -> None:
    """Wait briefly for a program to be ready.

    Raises:
        RuntimeError: The time limit `end`, of time.monotonic, has passed; the message holds the
            log.
    """
    if time.monotonic() > end:
        raise RuntimeError(f"{name} did not start:\n{latest_log(folder, name)}")
    time.sleep(seconds)


def _logs(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"logs/{name}.*.log"))
