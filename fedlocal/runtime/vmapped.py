"""The fast runtime: many clients of a round as one batch, with `torch.vmap`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import Client, ClientState, Inbox, Local, Upload, Work, batch, full_gradient
from fedlocal.clients import IntArray
from fedlocal.runtime.graph import Recorded
from fedlocal.runtime.runtime import Ahead, Plan, everything
from fedlocal.trees import concatenate, take, tree_map

# Of a group: what is the same for all of its clients has None. Steps come before clients, so that
# the work of a step is one piece of memory, however many steps there are.
INBOX = Inbox(model=0, inner=None, correction=None)  # type: ignore[arg-type]
WORK = Work(indices=1, mask=0, active=1, rates=None, noise=0, everything=0, draws=1)  # type: ignore[arg-type]

# Recording takes as long as some hundred steps.
RECORD_FROM = 200


@dataclass(frozen=True)
class Vmapped:
    """Runs groups of clients at once; clients that differ in size or steps are padded and masked.

    Attributes:
        clients_per_batch: Size of a group. Bounds the memory, and on a CPU keeps the working set
            in the cache.
    """

    clients_per_batch: int = 64

    def __post_init__(self) -> None:
        """Refuse an empty group."""
        if self.clients_per_batch < 1:
            raise ValueError(f"clients_per_batch must be >= 1, got {self.clients_per_batch}")

    def runner(self, client: Client, ahead: Ahead) -> "VmappedRunner":
        """See `Runtime.runner`."""
        step = torch.vmap(client.step, in_dims=(0, 0, 0, None, None))
        if ahead.steps >= RECORD_FROM:
            step = Recorded(step)
        return VmappedRunner(client, step, self.clients_per_batch)


@dataclass(frozen=True, eq=False)
class VmappedRunner:
    """See `Vmapped`. `step` is the client's, of many clients at once."""

    client: Client
    step: Callable[..., Local]
    clients_per_batch: int

    def run(self, states: ClientState, inbox: Inbox, plan: Plan) -> tuple[ClientState, Upload]:
        """See `Runner.run`."""
        # Clients with like numbers of steps share a group, so that little of it is padding.
        order = np.argsort(-plan.steps, kind="stable")
        groups = self._groups(order)
        results = [self._run_group(states, inbox, plan, rows) for rows in groups]
        if len(results) == 1 and _in_order(order):
            return results[0]
        back = torch.from_numpy(np.argsort(order)).to(inbox.model.device)
        return take(concatenate(results), back)

    def gradients(self, models: Tensor, examples: list[IntArray]) -> Tensor:
        """See `Runner.gradients`."""

        def of_group(rows: IntArray) -> Tensor:
            parts = everything([examples[row] for row in rows], models)
            return of_many(models[torch.from_numpy(rows).to(models.device)], parts)

        plain = self.client.gradients.plain
        of_many = torch.vmap(lambda x, part: full_gradient(plain, x, part))
        return torch.cat([of_group(rows) for rows in self._groups(np.arange(len(examples)))])

    def _groups(self, rows: IntArray) -> list[IntArray]:
        """Groups of like size: every size is recorded once."""
        return np.array_split(rows, -(-len(rows) // self.clients_per_batch))

    def _run_group(
        self, states: ClientState, inbox: Inbox, plan: Plan, rows: IntArray
    ) -> tuple[ClientState, Upload]:
        # All rows as a slice: a gather would copy them.
        whole = len(rows) == len(plan.clients) and _in_order(rows)
        picked = slice(None) if whole else torch.from_numpy(rows).to(inbox.model.device)
        own, control = take(states, picked), inbox.correction
        inbox = inbox._replace(model=inbox.model[picked])
        work = _padded(plan, rows, inbox.model)._replace(noise=plan.noise[picked])
        begun, local = torch.vmap(self.client.begin, in_dims=(0, INBOX, WORK))(own, inbox, work)
        local = tree_map(Tensor.contiguous, local)
        for h in range(len(work.indices)):
            local = self.step(local, begun, batch(work, h), control, work.rates[h])
        end = torch.vmap(self.client.end, in_dims=(0, 0, 0, None, WORK))
        return end(own, begun, local, control, work)


def _in_order(rows: IntArray) -> bool:
    return np.array_equal(rows, np.arange(len(rows)))


def _padded(plan: Plan, rows: IntArray, like: Tensor) -> Work:
    steps = plan.steps[rows]
    widths = np.array([plan.indices[row].shape[1] for row in rows])
    active = _real(steps, like)
    return Work(
        indices=_aligned([plan.indices[row] for row in rows], like),
        mask=_real(widths, like),
        active=tree_map(lambda each: each.T.contiguous(), active),
        rates=torch.tensor(plan.rates[: steps.max()], dtype=like.dtype).to(like.device),
        noise=like,
        everything=everything([plan.everything[row] for row in rows], like)
        if plan.everything
        else (),
        draws=_aligned([plan.draws[row] for row in rows], like) if plan.draws else (),
    )


def _aligned(arrays: list[IntArray], like: Tensor) -> Tensor:
    """Arrays [steps_i, b_i, ...] of S clients as [max steps, S, max b, ...], padded with zeros."""
    steps, widths = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    together = np.zeros((steps, len(arrays), widths, *arrays[0].shape[2:]), dtype=np.int64)
    for row, own in enumerate(arrays):
        together[: own.shape[0], row, : own.shape[1]] = own
    return torch.from_numpy(together).to(like.device)


def _real(lengths: IntArray, like: Tensor) -> Tensor | tuple[()]:
    """[S, max length] telling real entries from padding; () where nothing is padded."""
    longest = lengths.max()
    if (lengths == longest).all():
        return ()
    return torch.from_numpy(np.arange(longest) < lengths[:, None]).to(like.device)
