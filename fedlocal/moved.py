"""Former import paths, which still work and say where the module is now.

A user's yaml, pyproject or script may hold them.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Former and present module, both inside fedlocal.
MOVED = {
    "node": "flower.node",
    "runtime.flower_bundle": "flower.app_bundle",
    "runtime.flower_client": "flower.client_app",
    "runtime.flower_engine": "flower.engine",
    "runtime.flower_inprocess": "flower.inprocess",
    "runtime.flower_nodes": "flower.remote_population",
    "runtime.flower_server": "flower.server_app",
    "runtime.flower_settings": "flower.runtime",
    "runtime.flower_strategy": "flower.strategy",
}


class Forwarding(MetaPathFinder, Loader):
    """Finds a module under its former name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        moved = name.removeprefix("fedlocal.") in MOVED and name.startswith("fedlocal.")
        return ModuleSpec(name, self) if moved else None

    def create_module(self, spec: ModuleSpec) -> None:
        """See `importlib.abc.Loader`."""

    def exec_module(self, module: ModuleType) -> None:
        """Import the present module, and put it in the place of the former one."""
        former = module.__name__
        present = "fedlocal." + MOVED[former.removeprefix("fedlocal.")]
        warnings.warn(f"{former} is now {present}; write that", FutureWarning, stacklevel=2)
        sys.modules[former] = import_module(present)
