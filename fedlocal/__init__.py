"""Local SGD and its whole family, simulated and compared: K clients, H local steps."""

from fedlocal.clients import Clients
from fedlocal.clock import Clock
from fedlocal.evaluate import Evaluate
from fedlocal.participation import DropOut
from fedlocal.simulate import Result, simulate
from fedlocal.strategy import Strategy

__all__ = ["Clients", "Clock", "DropOut", "Evaluate", "Result", "Strategy", "simulate"]
