"""Local SGD and its whole family, simulated and compared: K clients, H local steps."""

import sys
from typing import TYPE_CHECKING

from fedlocal.utils.lazy_imports import lazy
from fedlocal.utils.moved import Forwarding

if TYPE_CHECKING:
    from fedlocal.api import simulate
    from fedlocal.data.clients import Clients
    from fedlocal.rounds.clock import Clock
    from fedlocal.rounds.deadline import Deadline
    from fedlocal.rounds.faults import DropOut
    from fedlocal.rounds.result import Result
    from fedlocal.rounds.scoring import Evaluate
    from fedlocal.slots.strategy import Strategy
    from fedlocal.utils.version import __version__

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
    "Clients": "data.clients",
    "Clock": "rounds.clock",
    "Deadline": "rounds.deadline",
    "DropOut": "rounds.faults",
    "Evaluate": "rounds.scoring",
    "Result": "rounds.result",
    "Strategy": "slots.strategy",
    "__version__": "utils.version",
    "simulate": "api",
}

__getattr__ = lazy(__name__, HOMES)

sys.meta_path.insert(0, Forwarding())
