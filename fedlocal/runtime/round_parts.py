"""Parts of a client's round, for a group of clients at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

from fedlocal.objective.gradients import Batch
from fedlocal.rounds.client import Local, PaddedWork, RoundStart
from fedlocal.rounds.runtime_interface import ClientParts
from fedlocal.runtime.tracing.backends import RECORD_FROM, Finish, Program, as_it_is
from fedlocal.runtime.tracing.cuda_graphs import CudaGraphed
from fedlocal.runtime.tracing.trace import Traced
from fedlocal.vectors.trees import Tree, leaves, map_rows, scan, take

# Axis of the clients in each field of a group's work. The axis of the steps comes first, so that
# the inputs of one step are contiguous.
_AXES = {"indices": 1, "mask": 0, "active": 1, "rates": 1, "noise": 0, "everything": 0}
WORK = PaddedWork(**_AXES, draws=1, keys=1, shared=1)  # type: ignore[arg-type]

# (local, begun, work, control) -> local after all steps of the work; of a group at once.
LocalSteps = Callable[[Local, RoundStart, PaddedWork, Tree], Local]
# (local, per_step, shared) -> local. per_step: Inputs that differ between steps, [H, ...]; shared:
# inputs of all steps.
Scan = Callable[[Local, Tree, Tree], Local]

# Steps of one captured graph.
CAPTURED = 100

# Rounds between two comparisons of a traced step with the step itself, after the first 32.
COMPARED_EVERY = 32


class Parts(NamedTuple):
    """`Client.begin`, its steps and `Client.end` for a group at once, and their program."""

    begin: Callable[..., Any]
    steps: LocalSteps
    end: Callable[..., Any]
    program: Callable[[], str]


def parts_of(
    client: ClientParts, program: Program, steps: int, groups: int, device: torch.device
) -> Parts:
    """Return the parts of a group's round.

    Args:
        client: The client's round.
        program: See `Vmapped`.
        steps: Approximate number of local steps of the run.
        groups: Approximate number of groups that take each step.
        device: Device of the tensors.
    """
    begin, step, end = begin_of_many(client), step_of_many(client), end_of_many(client)
    if program == "direct" or (program == "auto" and steps < RECORD_FROM):
        return Parts(begin, steps_by(partial(scan, step)), end, lambda: "direct")
    finish = Finish(program, steps * groups)
    record = Traced(step, finish)
    # The host only starts a captured graph.
    taken = in_pieces(CudaGraphed(record.scan)) if device.type == "cuda" else record.scan

    def described() -> str:
        if record.failed:
            return f"direct, as they cannot be recorded: {record.failed}"
        return "compiled" if finish.compiles else "recorded"

    return Parts(
        Traced(begin, as_it_is),
        steps_by(Compared(taken, record.scan, step)),
        Traced(end, as_it_is),
        described,
    )


@dataclass
class Compared:
    """Traced steps that are compared with the step itself from time to time.

    A trace keeps the Python values of its creation, and a loss may read the time, or a file.

    Attributes:
        taken: Runs all traced steps; on a GPU it is a CUDA graph.
        recorded: Runs traced steps without a CUDA graph, for the comparison of one step.
        step: The step itself.
        calls: Number of rounds so far.
    """

    taken: Scan
    recorded: Scan
    step: Callable[[Local, Tree, Tree], Local]
    calls: int = 0

    def __call__(self, local: Local, each: Tree, shared: Tree) -> Local:
        """Take all steps; see `LocalSteps`.

        Raises:
            RuntimeError: The step gives another loss than its trace.
        """
        self.calls += 1
        if self.calls % COMPARED_EVERY == 0 or self.calls & (self.calls - 1) == 0:
            self._compare(local, each, shared)
        return self.taken(local, each, shared)

    def _compare(self, local: Local, each: Tree, shared: Tree) -> None:
        ours = self.recorded(local, take(each, slice(1)), shared).loss_sum
        theirs = self.step(local, take(each, 0), shared).loss_sum
        allowed = torch.finfo(ours.dtype).eps ** 0.5 * float(theirs.abs().max())
        if bool(((ours - theirs).abs() > allowed).any()):
            raise RuntimeError(
                "the loss or the model computes something else than when its local steps were"
                " recorded: it reads a Python value that has changed since; run with runtime=loop"
            )


def begin_of_many(client: ClientParts) -> Callable[..., tuple[RoundStart, Local]]:
    """Return `begin` for every member of a group."""
    return map_rows(client.begin, in_dims=(0, 0, WORK))


def step_of_many(client: ClientParts) -> Callable[[Local, Tree, Tree], Local]:
    """Return a step of every member of a group, given its own and the shared arguments."""
    step = map_rows(client.step)

    def of_many(local: Local, own: Tree, shared: Tree) -> Local:
        (indices, active, lr, draws, key, which), (at_start, mask, control) = own, shared
        batch = Batch(indices, mask, active, draws, key, which)
        return step(local, at_start, batch, control, lr)

    return of_many


def end_of_many(client: ClientParts) -> Callable[..., Any]:
    """Return `end` for every member of a group."""
    return map_rows(client.end, in_dims=(0, 0, 0, 0, WORK))


def by_step(work: PaddedWork) -> Tree:
    """Return the parts of a group's work that differ from step to step, every tensor [H, ...]."""
    return work.indices, work.active, work.rates, work.draws, work.keys, work.shared


def steps_by(taken: Scan) -> LocalSteps:
    """Return a function that takes all steps of a group's work one by one."""

    def run(local: Local, at_start: RoundStart, work: PaddedWork, control: Tree) -> Local:
        return taken(local, by_step(work), (at_start, work.mask, control))

    return run


def in_pieces(taken: Scan, most: int = CAPTURED) -> Scan:
    """Return a function that takes all steps in pieces of at most `most` steps."""

    def run_pieces(local: Local, each: Tree, shared: Tree) -> Local:
        for first in range(0, len(next(leaves(each))), most):
            local = taken(local, take(each, slice(first, first + most)), shared)
        return local

    return run_pieces
