"""Fixtures that remove waits and pictures from the tests of this folder."""

import time

import pytest

from fedlocal.cli import run_files
from fedlocal.flower import remote_population, transport


@pytest.fixture(autouse=True)
def pauses_cost_nothing(monkeypatch):
    """The server's clock jumps over its sleeps.

    The nodes of a grid in this process have answered when a message is pushed, so a reply that is
    not there will never come.
    """
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    for module in (transport, remote_population):
        monkeypatch.setattr(module, "sleep", sleep)
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + slept[0])


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch):
    """A run's curves take half a second, and nobody looks at them here."""
    monkeypatch.setattr(run_files, "draw", lambda groups, path: path.write_bytes(b""))
