"""Rounds that are compared: ours, a plain loop over clients, and no federation at all.

Every row takes the same H steps with batches of 16 of the same examples. Flower's engine, which is
a process of its own, stands in `engine.py`.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.problems import BATCH, LR, Cell, Problem, problem
from fedlocal.api import prepare
from fedlocal.objective.losses import cross_entropy
from fedlocal.rounds.definition import Environment, Method, Observation
from fedlocal.rounds.definition import Problem as RunProblem
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.rounds.scoring import Evaluate
from fedlocal.rounds.state import Simulation, initial_state
from fedlocal.runtime import Loop, Vmapped
from fedlocal.slots.strategy import Strategy
from strategies import local_sgd, vrl_sgd

NEVER = 10**9
# The floor's examples at once: as many as 64 clients have in a step, so that memory is bounded.
AT_ONCE = 64 * BATCH

OneRound = Callable[[], None]


def simulation(cell: Cell, strategy: Strategy, runtime: Runtime) -> Simulation:
    """Return a run that never evaluates and never ends."""
    given = problem(cell)
    return prepare(
        RunProblem(given.model, given.clients),
        Method(strategy, NEVER, BATCH),
        Environment(runtime, cell.device),
        Observation(Evaluate(every=NEVER)),
    )


def ours(make: Callable[..., Strategy], runtime: Runtime, cell: Cell) -> OneRound:
    """Return a round of a strategy in a runtime, with ledger and clock."""
    sim = simulation(cell, make(LR, cell.steps), runtime)
    state = initial_state(sim)

    def one_round() -> None:
        nonlocal state
        state, _, _ = advance(sim, state)

    return one_round


def plain(cell: Cell) -> OneRound:
    """Return a round as written by hand: a module and a torch optimiser per client, in turn."""
    given, model, x, y = placed(cell)
    shares = [torch.from_numpy(chunk).to(cell.device) for (chunk,) in given.clients.chunks]

    def one_round() -> None:
        total = [torch.zeros_like(p) for p in model.parameters()]
        for share in shares:
            local = deepcopy(model)
            train(local, x, y, share, cell.steps)
            with torch.no_grad():
                for sum_, p in zip(total, local.parameters(), strict=True):
                    sum_ += p / cell.clients
        with torch.no_grad():
            for p, mean in zip(model.parameters(), total, strict=True):
                p.copy_(mean)

    return one_round


def train(model: nn.Module, x: Tensor, y: Tensor, share: Tensor, steps: int) -> Tensor:
    """Take H local steps of one client in plain PyTorch; return the last loss."""
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    for _ in range(steps):
        rows = share[torch.randperm(len(share), device=share.device)[:BATCH]]
        optimiser.zero_grad()
        value = cross_entropy(model(x[rows]), y[rows])
        value.backward()
        optimiser.step()
    return value.detach()


def floor(cell: Cell) -> OneRound:
    """Return the same multiplications without federation: one model on all clients' batches."""
    given, model, x, y = placed(cell)
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    size = sum(given.batches)

    def one_round() -> None:
        for _ in range(cell.steps):
            optimiser.zero_grad()
            for rows in torch.randint(len(x), (size,), device=cell.device).split(AT_ONCE):
                loss = cross_entropy(model(x[rows]), y[rows]) * (len(rows) / size)
                loss.backward()
            optimiser.step()

    return one_round


def placed(cell: Cell) -> tuple[Problem, nn.Module, Tensor, Tensor]:
    """Return the problem with its model and its pool of examples on the cell's device."""
    given = problem(cell)
    pool = given.clients
    return given, given.model.to(cell.device), pool.x.to(cell.device), pool.y.to(cell.device)


PLAIN, FLOOR = "plain PyTorch loop", "floor: one model, one batch"
ROWS: dict[str, Callable[[Cell], OneRound]] = {
    "vmapped, compiled": partial(ours, local_sgd, Vmapped(program="compiled")),
    "vmapped, recorded": partial(ours, local_sgd, Vmapped(program="recorded")),
    "vmapped, direct": partial(ours, local_sgd, Vmapped(program="direct")),
    "vmapped, vrl_sgd": partial(ours, vrl_sgd, Vmapped(program="recorded")),
    "loop": partial(ours, local_sgd, Loop()),
    PLAIN: plain,
    FLOOR: floor,
}
