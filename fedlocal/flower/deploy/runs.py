"""Start and state of runs, through the command flwr."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedlocal.flower.deploy.processes import Program, kill, new_mark, start
from fedlocal.flower.deploy.programs import CONNECTION, config_text, environment, flower
from fedlocal.flower.deploy.settings import Value

GOOD_END = "finished:completed"


def call(home: Path, mark: str, *arguments: str) -> str:
    """Return the output of `flwr ARGUMENTS`.

    Args:
        home: The $FLWR_HOME with the connection.
        mark: Mark of the process.
        arguments: Arguments of flwr.

    Raises:
        RuntimeError: It fails.
    """
    lines: list[str] = []
    try:
        lines.extend(_lines(home, mark, *arguments))
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n" + "\n".join(lines)) from error
    return "\n".join(lines)


def statuses(home: Path, mark: str) -> list[str]:
    """Return the states of the runs, the latest first: `GOOD_END` or another one."""
    text = call(home, mark, "list", CONNECTION, "--format", "json")
    return [run["status"] for run in json.loads(text[text.index("{") :])["runs"]]


def follow(
    home: Path, mark: str, app: Path, run_config: Mapping[str, Value] | None
) -> Iterator[str]:
    """Start a run of an app; yield the lines of its ServerApp as they are printed.

    Args:
        home: As in `call`.
        mark: As in `call`.
        app: Folder with the app's pyproject.toml.
        run_config: Overrides of [tool.flwr.app.config] there.

    Raises:
        RuntimeError: The run failed; the message holds its last lines.
    """
    flags = ["--run-config", config_text(run_config)] if run_config else []
    last: list[str] = []
    try:
        for line in _lines(home, mark, "run", str(app.absolute()), CONNECTION, "--stream", *flags):
            last = [*last[-40:], line]
            yield line
        status = statuses(home, mark)[0]
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n" + "\n".join(last)) from error
    if status != GOOD_END:
        raise RuntimeError(f"the run is {status}:\n" + "\n".join(last))


def _lines(home: Path, mark: str, *arguments: str) -> Iterator[str]:
    variables = environment(home) | {"PYTHONUNBUFFERED": "1"}
    program = Program([flower("flwr"), *arguments], variables)
    running = start(program, new_mark(mark), subprocess.PIPE, cwd=home)
    output = running.process.stdout
    assert output is not None
    try:
        for line in output:
            yield line.decode(errors="replace").rstrip()
        code = running.process.wait()
    finally:
        kill(running)
        output.close()
    if code:
        raise RuntimeError(f"flwr {arguments[0]} failed with exit code {code}")
