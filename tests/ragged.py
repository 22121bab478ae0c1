"""A small ragged problem, as a Simulation of any strategy."""

import torch
from torch import nn

from fedlocal.api import prepare
from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.faults import DropOut
from fedlocal.rounds.scoring import Evaluate
from fedlocal.rounds.state import Simulation
from fedlocal.runtime import Loop
from fedlocal.slots.strategy import Strategy

SIZES = (9, 4, 13, 6, 7)
ROUNDS = 4


def ragged_clients() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 5, generator=rng), torch.randint(0, 3, (n,), generator=rng)) for n in SIZES
    ]


def small_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def simulation(
    strategy: Strategy,
    runtime=None,
    rounds: int = ROUNDS,
    participation: float = 1.0,
    dtype: torch.dtype = torch.float64,
    faults: DropOut | None = None,
    every: int = 2,
    model: nn.Module | None = None,
    options: ModelOptions | None = None,
) -> Simulation:
    return prepare(
        Problem(model or small_model(), ragged_clients(), options=options or ModelOptions()),
        # Batches larger than the smallest client, so that they are ragged too.
        Method(strategy, rounds, 6, participation, 3),
        Environment(runtime or Loop(), "cpu", dtype, faults=faults),
        Observation(Evaluate(every=every)),
    )
