"""Flower app folder with a ServerApp and a ClientApp of installed packages.

`flwr run` copies the folder, and nothing else, to where the app runs. It therefore holds only a
pyproject.toml and two modules of a few lines; the code is that of the environment.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tomli_w

# Values of a run's configuration in Flower, which must be flat.
Value = str | int | float | bool

# Environment variable; if set, the end of the ServerApp is printed after its value.
MARK = "FEDLOCAL_RUN"

# Both import late: Ray starts meanwhile, and its actors receive the class by reference.
SERVER = """\
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    from fedlocal.flower.app_bundle import announce_end

    with announce_end():
        from {module} import {attribute}

        {attribute}(grid, context)
"""

CLIENT = """\
from flwr.clientapp import ClientApp


class LateClientApp(ClientApp):
    def __call__(self, message, context):
        from {module} import {attribute}

        return {attribute}(message, context)


app = LateClientApp()
"""


def write_app(
    folder: Path,
    name: str,
    serverapp: str,
    clientapp: str,
    config: Mapping[str, Value] | None = None,
) -> Path:
    """Write an app that `flwr run FOLDER` can start; return the folder.

    Args:
        folder: Folder of the app, created if needed.
        name: Letters, digits and hyphens.
        serverapp: "module:attribute", a ServerApp; imported when it runs.
        clientapp: "module:attribute", a ClientApp; imported at its first message.
        config: Content of `context.run_config`; a run can override these keys only.

    Raises:
        ValueError: Flower does not accept a name or a value.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ValueError(f"an app's name has letters, digits and hyphens only, got {name!r}")
    app = {
        "publisher": "fedlocal",
        "components": {"serverapp": "app_server:app", "clientapp": "app_client:app"},
        "config": plain_config(config or {}),
    }
    project = {
        "name": name,
        "version": "1.0.0",
        "description": "An app of fedlocal",
        "license": "Apache-2.0",
    }
    files = {
        "pyproject.toml": tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}}),
        "app_server.py": SERVER.format(**_reference(serverapp)),
        "app_client.py": CLIENT.format(**_reference(clientapp)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def plain_config(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values of Flower's configuration with plain types.

    Raises:
        ValueError: A value is no string, number or bool, or Flower cannot send it.
    """
    return {_text(key): _plain(key, value) for key, value in values.items()}


@contextmanager
def announce_end() -> Iterator[None]:
    """Print how the block ended, on a line of its own, if the marker variable is set."""
    outcome = "completed"
    try:
        yield
    except BaseException as error:
        outcome = f"failed: {type(error).__name__}: {error}"
        if MARK in os.environ:
            traceback.print_exc()
        raise
    finally:
        if MARK in os.environ:
            # A single write, so that other threads cannot interleave.
            sys.stdout.write(f"{os.environ[MARK]} {' '.join(outcome.split())}\n")


def _reference(given: str) -> dict[str, str]:
    found = re.fullmatch(r"(?P<module>[\w.]+):(?P<attribute>\w+)", given)
    if found is None:
        raise ValueError(f'an app is given as "module:attribute", got {given!r}')
    return found.groupdict()


def _plain(key: str, value: Value) -> Value:
    """Return the value as its built-in type: a subclass may have another text."""
    match value:
        case bool():
            return value
        case int() if -(2**63) <= value < 2**63:
            return int(value)
        case float():
            return float(value)
        case str():
            return _text(value)
    raise ValueError(
        f"Flower takes strings, floats, bools and ints of 64 bits, got {key}={value!r}; write"
        " anything else as a string"
    )


def _text(value: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{value!r} is no valid Unicode: {error.reason}") from None
