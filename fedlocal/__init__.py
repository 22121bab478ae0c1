"""Local SGD and its whole family, simulated and compared: K clients, H local steps."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fedlocal.lazy import lazy
from fedlocal.moved import Forwarding

if TYPE_CHECKING:
    from fedlocal.clients import Clients
    from fedlocal.clock import Clock
    from fedlocal.deadline import Deadline
    from fedlocal.evaluate import Evaluate
    from fedlocal.participation import DropOut
    from fedlocal.simulate import Result, simulate
    from fedlocal.strategy import Strategy
    from fedlocal.version import __version__

__all__ = [
    "Clients",
    "Clock",
    "Deadline",
    "DropOut",
    "Evaluate",
    "Result",
    "Strategy",
    "__version__",
    "simulate",
]

HOMES = {
    "Clients": "clients",
    "Clock": "clock",
    "Deadline": "deadline",
    "DropOut": "participation",
    "Evaluate": "evaluate",
    "Result": "simulate",
    "Strategy": "strategy",
    "__version__": "version",
    "simulate": "simulate",
}


__getattr__ = lazy(__name__, HOMES)


class _Package(ModuleType):
    """Keeps `fedlocal.simulate` the function: importing a submodule binds its name here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "simulate" and isinstance(value, ModuleType):
            value = value.simulate
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
sys.meta_path.append(Forwarding())
