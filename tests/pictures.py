"""A small ragged problem with pictures, as a Simulation with any strategy and options."""

from typing import Any

import torch
from torch import nn

from fedlocal.api import prepare
from fedlocal.objective import Loss, StepOptions
from fedlocal.objective.augment import Augment, NoAugment
from fedlocal.objective.losses import cross_entropy
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.state import Simulation
from fedlocal.runtime import Loop
from fedlocal.slots.strategy import Strategy

SIZES = (9, 4, 7)
SHAPE = (2, 6, 5)


def picture_clients(seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, *SHAPE, generator=rng), torch.randint(0, 3, (n,), generator=rng))
        for n in SIZES
    ]


def picture_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3))


def simulation(
    strategy: Strategy,
    runtime=None,
    rounds: int = 3,
    dtype: torch.dtype = torch.float64,
    clients: Any = None,
    model: nn.Module | None = None,
    loss: Loss = cross_entropy,
    augment: Augment | None = None,
    **steps: Any,
) -> Simulation:
    return prepare(
        Problem(model or picture_model(), picture_clients() if clients is None else clients, loss),
        # Batches larger than the smallest client, so that they are ragged too.
        Method(strategy, rounds, 5, seed=3, steps=StepOptions(augment or NoAugment(), **steps)),
        Environment(runtime or Loop(), "cpu", dtype),
        Observation(),
    )
