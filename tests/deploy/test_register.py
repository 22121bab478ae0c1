"""Nodes' keys are made known to a SuperLink that is still starting."""

import subprocess
import sys

import pytest

from fedlocal.flower.deploy import register_keys

# A flwr that answers from a list, one line per call, and notes how it was called.
FLWR = """
import sys
from pathlib import Path
here = Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
answers = (here / "answers").read_text().splitlines()
print(answers[len((here / "calls").read_text().splitlines()) - 1], file=sys.stderr)
sys.exit(1)
"""


@pytest.fixture
def flwr(tmp_path):
    def answers(*lines):
        (tmp_path / "flwr").write_text(FLWR)
        (tmp_path / "answers").write_text("\n".join(lines))
        command = [
            sys.executable,
            "-P",
            register_keys.__file__,
            "flwr",
            "dep",
            "k/0.pub",
            "k/1.pub",
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return answers


def test_it_waits_for_the_superlink(flwr, tmp_path):
    done = flwr(
        "Connection to the SuperLink is unavailable.",
        "Connection to the SuperLink is unavailable.",
        "SuperNode 17 registered successfully.",
        "[code: 23] Public key already in use.",
    )
    assert done.returncode == 0
    assert done.stdout == "node 0: registered\nnode 1: known\n"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[2:] == ["supernode register k/0.pub dep", "supernode register k/1.pub dep"]


def test_a_refusal_is_told(flwr):
    done = flwr("SuperNode 17 registered successfully.", "[code: 22] no such key")
    assert done.returncode == 1
    assert done.stdout == "node 0: registered\n"
    assert "node 1: its key k/1.pub was not registered:\n[code: 22] no such key" in done.stderr
