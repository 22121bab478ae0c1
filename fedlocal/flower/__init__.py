"""Flower: server app, client app, simulation engine and SuperNodes.

`FlowerEngine` is `runtime=flower`; `FedLocal` is a strategy for a user's own app; `run_in_process`
runs any app without the engine.
"""

from typing import TYPE_CHECKING

from fedlocal.utils.lazy_imports import lazy

if TYPE_CHECKING:
    from fedlocal.flower.inprocess import run_in_process
    from fedlocal.flower.runtime import FlowerEngine
    from fedlocal.flower.strategy import FedLocal

__all__ = ["FedLocal", "FlowerEngine", "run_in_process"]

HOMES = {"FedLocal": "strategy", "FlowerEngine": "runtime", "run_in_process": "inprocess"}

__getattr__ = lazy(__name__, HOMES)
