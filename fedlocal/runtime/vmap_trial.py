"""Trial whether a group of clients can run as one batch, on two clients before the first round."""

import warnings

import torch
from torch import Tensor

from fedlocal.rounds.client import ClientState, Inbox, PaddedWork, batch
from fedlocal.rounds.runtime_interface import ClientParts
from fedlocal.runtime.round_parts import begin_of_many, by_step, end_of_many, step_of_many
from fedlocal.runtime.tracing.trace import in_a_line
from fedlocal.vectors.trees import Tree, leaves, take

# torch.vmap raises these for operations that it cannot batch, and for user code that looks at
# values (`if`, `.item()`).
UNBATCHED = (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError)


class NotBatchable(Exception):
    """Clients of several runs cannot be one batch, though each run can train by itself."""


def why_not_together(
    client: ClientParts, states: ClientState, inbox: Inbox, work: PaddedWork
) -> str:
    """Return why two clients cannot run as one batch; "" if they can.

    Args:
        client: The client's round.
        states: States of the two, every tensor [2, ...].
        inbox: Their inboxes.
        work: Their work; steps come before clients.

    Raises:
        Exception: The round of a single client fails.
    """
    first = batch(work, 0)
    points = inbox.model, client.parts(states, inbox)
    alone = [client.gradients.step(*take((*points, first), row)) for row in range(2)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = torch.vmap(client.gradients.step)(*points, first)
            at_start, local = begin_of_many(client)(states, inbox, work)
            shared = at_start, work.mask, inbox.correction
            local = step_of_many(client)(local, take(by_step(work), 0), shared)
            end_of_many(client)(states, at_start, local, inbox.correction, work)
    except UNBATCHED as error:
        return in_a_line(error)
    for row in range(2):
        if not _close(take(tuple(together), row), tuple(alone[row]), client):
            return "torch.vmap gives another gradient than the model by itself"
    return ""


def _close(a: Tree, b: Tree, client: ClientParts) -> bool:
    return all(
        _near(one, other, client.gradients.precision)
        for one, other in zip(leaves(a), leaves(b), strict=True)
    )


def _near(a: Tensor, b: Tensor, precision: str) -> bool:
    """Return whether two gradients differ by rounding only, relative to the largest entry."""
    rounded = {"bf16": torch.bfloat16, "tf32": torch.float16}.get(precision, a.dtype)
    if not a.numel() or not bool(torch.isfinite(b).all()):
        return True
    allowed = torch.finfo(rounded).eps ** 0.5 * max(float(b.abs().max()), 1e-30)
    return bool(((a - b).abs() <= allowed).all())
