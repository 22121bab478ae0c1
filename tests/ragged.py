"""A small ragged problem, as a Simulation of any strategy."""

import torch
from torch import nn

from fedlocal.api import prepare
from fedlocal.objective.losses import cross_entropy
from fedlocal.objective.options import ModelOptions
from fedlocal.rounds.evaluate import Evaluate
from fedlocal.rounds.faults import DropOut
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
        model=small_model() if model is None else model,
        clients=ragged_clients(),
        strategy=strategy,
        rounds=rounds,
        # Larger than the smallest client, so that batches are ragged too.
        batch_size=6,
        loss=cross_entropy,
        test=None,
        participation=participation,
        seed=3,
        runtime=runtime or Loop(),
        device="cpu",
        dtype=dtype,
        clock=None,
        faults=faults,
        evaluate=Evaluate(every=every),
        options=options,
    )
