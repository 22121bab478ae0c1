"""Definition of a run in four groups: problem, method, environment and observation.

`fedlocal.simulate` describes each of their fields.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fedlocal.data.clients import Clients
from fedlocal.objective import Loss, StepOptions
from fedlocal.objective.losses import cross_entropy
from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.faults import DropOut, check_participation
from fedlocal.rounds.goal import Goal
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_types, check_whole


@dataclass(frozen=True, eq=False)
class Problem:
    """The model, the loss and the examples."""

    model: nn.Module
    clients: Iterable[Any] | Clients
    loss: Loss = cross_entropy
    test: Any = None
    options: ModelOptions = ModelOptions()


@dataclass(frozen=True, eq=False)
class Method:
    """The algorithm, and how long and with which batches and cohorts it runs."""

    strategy: Strategy
    rounds: int = 50
    batch_size: int | None = 32
    participation: float = 1.0
    seed: int = 0
    steps: StepOptions = StepOptions()

    def __post_init__(self) -> None:
        """Raise ValueError for something that is no strategy, or a number out of range."""
        if not isinstance(self.strategy, Strategy):
            raise ValueError(_no_strategy(self.strategy))
        check_whole("rounds", self.rounds, 1)
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size, 0, "; 0 takes the full batch")
        check_whole("seed", self.seed)
        check_participation(self.participation)
        self.strategy.check_participation(self.participation)


@dataclass(frozen=True, eq=False)
class Environment:
    """Hardware that computes the run, and the simulated system: clock, faults and deadline."""

    runtime: str | Runtime = "vmapped"
    device: str = "auto"
    dtype: torch.dtype | None = None
    clock: Clock | None = None
    faults: DropOut | None = None
    deadline: Deadline | None = None
    spill: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a part of another type."""
        check_types(
            clock=(self.clock, Clock),
            faults=(self.faults, DropOut),
            deadline=(self.deadline, Deadline),
        )


@dataclass(frozen=True, eq=False)
class Observation:
    """Measurements of a run, and the goal at which it ends."""

    evaluate: Evaluate | None = None
    diagnostics: bool | Sequence[str] = ()
    goal: Goal | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a part of another type."""
        check_types(evaluate=(self.evaluate, Evaluate), goal=(self.goal, Goal))


def _no_strategy(given: Any) -> str:
    if callable(given) and hasattr(given, "__name__"):
        return (
            f"strategy is the function {given.__name__}, which has not been called yet; write"
            f" {given.__name__}(...), for example with lr=0.1"
        )
    name = given if isinstance(given, str) and given.isidentifier() else "local_sgd"
    return (
        f"strategy must be what a function of `strategies` returns, got {given!r}; write"
        f" strategies.{name}(lr=0.1) after import strategies"
    )
