"""What the tests of this folder need not wait for."""

import time
from copy import deepcopy
from typing import Any

import pytest

from fedlocal.cli import outcome
from fedlocal.config import compose
from fedlocal.flower import remote_population, transport

_composed: dict[tuple[str, ...], Any] = {}
_hydra_compose = compose.hydra_compose


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
    monkeypatch.setattr(outcome, "draw", lambda groups, path: path.write_bytes(b""))


@pytest.fixture(autouse=True)
def composed_once(monkeypatch):
    """Server, nodes and reference compose the same line; Hydra takes most of a second for it."""

    def compose_once(name: str, overrides: list[str], **options: Any) -> Any:
        key = (name, *overrides, *map(str, options.items()))
        if key not in _composed:
            _composed[key] = _hydra_compose(name, overrides, **options)
        return deepcopy(_composed[key])

    monkeypatch.setattr(compose, "hydra_compose", compose_once)
