"""What every runtime offers, and choosing one by name."""

from typing import Protocol

from fedlocal.client import ClientState, Inbox, Upload
from fedlocal.objective import Objective
from fedlocal.runtime.loop import Loop
from fedlocal.runtime.plan import Plan
from fedlocal.runtime.vmapped import Vmapped
from fedlocal.strategy import Strategy


class Runtime(Protocol):
    """Runs the cohort of one round."""

    def run(
        self,
        strategy: Strategy,
        objective: Objective,
        states: ClientState,
        inbox: Inbox,
        plan: Plan,
    ) -> tuple[ClientState, Upload]:
        """The cohort's next states and uploads, every tensor [S, ...].

        `inbox.model` is [S, P]; its controls are shared by all. No argument is changed.
        """
        ...


def runtime_of(runtime: "str | Runtime") -> Runtime:
    """A runtime by its name, or the runtime itself."""
    if not isinstance(runtime, str):
        return runtime
    runtimes = {"vmapped": Vmapped, "loop": Loop}
    if runtime not in runtimes:
        raise ValueError(f"runtime must be one of {', '.join(runtimes)}, got {runtime!r}")
    return runtimes[runtime]()
