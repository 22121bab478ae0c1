"""Runtimes: ways to run the same `client_round` for every member of a cohort.

Nothing is imported before it is asked for: Flower's side imports this package where torch would
cost seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlocal.runtime.loop import Loop
    from fedlocal.runtime.runtime import OneClient, Plan, Runtime
    from fedlocal.runtime.vmapped import Vmapped

__all__ = ["Loop", "OneClient", "Plan", "Runtime", "Vmapped", "runtime_of"]

RUNTIMES = {"vmapped": "Vmapped", "loop": "Loop"}
HOMES = {
    "Loop": "loop",
    "OneClient": "runtime",
    "Plan": "runtime",
    "Runtime": "runtime",
    "Vmapped": "vmapped",
}


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def runtime_of(runtime: "str | Runtime") -> "Runtime":
    """A runtime by its name, or the runtime itself."""
    if not isinstance(runtime, str):
        return runtime
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    return __getattr__(RUNTIMES[runtime])()
