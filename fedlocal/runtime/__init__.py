"""Runtimes: ways to run the same client round for every member of a cohort.

Members are imported on first use: Flower's processes import this package, and importing torch takes
seconds.
"""

from typing import TYPE_CHECKING

from fedlocal.utils.lazy_imports import lazy

if TYPE_CHECKING:
    from fedlocal.rounds.runtime_interface import Runtime
    from fedlocal.runtime.loop import Loop
    from fedlocal.runtime.vmapped import Vmapped

__all__ = ["Loop", "Vmapped", "runtime_of"]

RUNTIMES = {"vmapped": "Vmapped", "loop": "Loop"}
HOMES = {"Loop": "loop", "Vmapped": "vmapped"}


__getattr__ = lazy(__name__, HOMES)


def runtime_of(runtime: "str | Runtime") -> "Runtime":
    """Return a runtime by its name, or the runtime itself."""
    if hasattr(runtime, "runner") and not isinstance(runtime, type):
        return runtime  # type: ignore[return-value]
    if not isinstance(runtime, str) or runtime not in RUNTIMES:
        made = f"; write {runtime.__name__}()" if isinstance(runtime, type) else ""
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}{made}")
    return __getattr__(RUNTIMES[runtime])()
