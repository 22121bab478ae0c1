"""Runtimes: ways to run the same `client_round` for every member of a cohort."""

from fedlocal.runtime.loop import Loop
from fedlocal.runtime.plan import Plan
from fedlocal.runtime.runtime import Runtime, runtime_of
from fedlocal.runtime.vmapped import Vmapped

__all__ = ["Loop", "Plan", "Runtime", "Vmapped", "runtime_of"]
