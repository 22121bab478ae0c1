"""The H local steps of a group of clients: one step for many clients at once, H times."""

from collections.abc import Callable, Iterator

import torch

from fedlocal.client import Begun, Client, Local, Work, batch
from fedlocal.runtime.graph import Recorded
from fedlocal.runtime.program import RECORD_FROM, Program, finish
from fedlocal.runtime.replayed import Replayed
from fedlocal.trees import Tree, take

# (local, begun, work, control) -> local after all steps of the work; of a group at once.
LocalSteps = Callable[[Local, Begun, Work, Tree], Local]

# Steps of one captured graph.
CAPTURED = 100


def local_steps(
    client: Client, program: Program, steps: int, groups: int, device: torch.device
) -> LocalSteps:
    """What takes a group's local steps.

    Args:
        client: Whose steps.
        program: See `Vmapped`.
        steps: About how many local steps the run has in all.
        groups: About how many groups take each of them.
        device: Where the tensors are.
    """
    step = step_of_many(client)
    if program == "direct" or (program == "auto" and steps < RECORD_FROM):
        return one_by_one(step)
    recorded = one_by_one(Recorded(step, finish(program, steps * groups)))
    # The host only starts a captured graph.
    return in_parts(Replayed(recorded)) if device.type == "cuda" else recorded


def step_of_many(client: Client) -> Callable[..., Local]:
    """The client's step for every member of a group; control and step size are shared."""
    return torch.vmap(client.step, in_dims=(0, 0, 0, None, None))


def one_by_one(step: Callable[..., Local]) -> LocalSteps:
    """Step after step."""

    def run(local: Local, begun: Begun, work: Work, control: Tree) -> Local:
        for h in range(len(work.indices)):
            local = step(local, begun, batch(work, h), control, work.rates[h])
        return local

    return run


def in_parts(run: LocalSteps, most: int = CAPTURED) -> LocalSteps:
    """The same in parts of at most so many steps, given only what steps read of the work."""

    def run_parts(local: Local, begun: Begun, work: Work, control: Tree) -> Local:
        for part in _parts(work, most):
            local = run(local, begun, part, control)
        return local

    return run_parts


def _parts(work: Work, most: int) -> Iterator[Work]:
    nothing: Tree = ()
    for first in range(0, len(work.indices), most):
        cut = slice(first, first + most)
        indices, active, rates, draws = take(
            (work.indices, work.active, work.rates, work.draws), cut
        )
        yield Work(indices, work.mask, active, rates, nothing, nothing, draws)
