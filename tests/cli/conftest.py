import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fedlocal.cli import run_files
from fedlocal.cli.main import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def refused(self) -> str:
        """The one line that a refusal consists of."""
        lines = self.err.splitlines()
        assert (self.code, self.out, len(lines)) == (2, "", 1), self
        return lines[0]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def cli(here, monkeypatch, capsys):
    """The command, called in this process."""
    # The command sets both; this has them put back.
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    # A quarter of a short run; drawn are those in processes of their own, and in tests/report.
    monkeypatch.setattr(run_files, "draw", lambda groups, path: path.touch())

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["fedlocal", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def summary(cli, here):
    """Run into a folder of a given name and read the summary."""

    def run(*overrides: str, name: str = "run") -> dict:
        # A folder that holds another run would be refused.
        shutil.rmtree(here / name, ignore_errors=True)
        outcome = cli(*overrides, f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.err
        return json.loads((here / name / "summary.json").read_text())

    return run


@pytest.fixture
def start(here, tmp_path):
    """The real command in a process of its own, with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HYDRA"))}
    # So imports stay cached; and one core, as everywhere in these tests.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept |= {"HOME": str(home), "NETRC": str(home / "netrc"), "OMP_NUM_THREADS": "1"}

    def begin(*arguments: str, command: str = "fedlocal", **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [Path(sys.executable).parent / command, *arguments],
            cwd=here,
            env=kept | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture
def shell(start):
    """The real command, run to its end."""

    def run(*arguments: str, **options: str) -> Outcome:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return Outcome(process.returncode, out, err)

    return run
