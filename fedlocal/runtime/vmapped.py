"""The fast runtime: many clients of a round as one batch, with `torch.vmap`."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import ClientState, Inbox, Upload, Work
from fedlocal.clients import IntArray
from fedlocal.runtime.runtime import OneClient, Plan, everything
from fedlocal.trees import concatenate, take


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

    def run(
        self, one_client: OneClient, states: ClientState, inbox: Inbox, plan: Plan
    ) -> tuple[ClientState, Upload]:
        """See `Runtime.run`."""
        # Clients with like numbers of steps share a group, so that little of it is padding.
        order = np.argsort(-plan.steps, kind="stable")
        groups = np.split(order, range(self.clients_per_batch, len(order), self.clients_per_batch))
        results = [_run_group(one_client, states, inbox, plan, rows) for rows in groups]
        if _in_order(order, plan) and len(results) == 1:
            return results[0]
        back = torch.from_numpy(np.argsort(order)).to(inbox.model.device)
        return take(concatenate(results), back)


def _in_order(rows: IntArray, plan: Plan) -> bool:
    return np.array_equal(rows, np.arange(len(plan.clients)))


def _run_group(
    one_client: OneClient, states: ClientState, inbox: Inbox, plan: Plan, rows: IntArray
) -> tuple[ClientState, Upload]:
    # All rows as a slice: a gather would copy them.
    whole = _in_order(rows, plan)
    picked = slice(None) if whole else torch.from_numpy(rows).to(inbox.model.device)
    # Controls and step sizes are the same for every client of the group.
    shared = Inbox(model=0, inner=None, correction=None)  # type: ignore[arg-type]
    own = Work(indices=0, mask=0, active=0, rates=None, noise=0, everything=0, draws=0)  # type: ignore[arg-type]
    return torch.vmap(one_client, in_dims=(0, shared, own))(
        take(states, picked),
        inbox._replace(model=inbox.model[picked]),
        _padded(plan, rows, inbox.model)._replace(noise=plan.noise[picked]),
    )


def _padded(plan: Plan, rows: IntArray, like: Tensor) -> Work:
    steps = plan.steps[rows]
    widths = np.array([plan.indices[row].shape[1] for row in rows])
    return Work(
        indices=_aligned([plan.indices[row] for row in rows], like),
        mask=_real(widths, like),
        active=_real(steps, like),
        rates=torch.tensor(plan.rates[: steps.max()], dtype=like.dtype).to(like.device),
        noise=like,
        everything=everything([plan.everything[row] for row in rows], like)
        if plan.everything
        else (),
        draws=_aligned([plan.draws[row] for row in rows], like) if plan.draws else (),
    )


def _aligned(arrays: list[IntArray], like: Tensor) -> Tensor:
    """Arrays [steps_i, b_i, ...] of S clients as [S, max steps, max b, ...], padded with zeros."""
    steps, widths = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    together = np.zeros((len(arrays), steps, widths, *arrays[0].shape[2:]), dtype=np.int64)
    for row, own in zip(together, arrays, strict=True):
        row[: own.shape[0], : own.shape[1]] = own
    return torch.from_numpy(together).to(like.device)


def _real(lengths: IntArray, like: Tensor) -> Tensor | tuple[()]:
    """[S, max length] telling real entries from padding; () where nothing is padded."""
    longest = lengths.max()
    if (lengths == longest).all():
        return ()
    return torch.from_numpy(np.arange(longest) < lengths[:, None]).to(like.device)
