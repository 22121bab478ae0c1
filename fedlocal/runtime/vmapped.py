"""The fast runtime: many clients of a round as one batch, with `torch.vmap`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective.gradients import Own
from fedlocal.objective.precision import products_in
from fedlocal.rounds.client import Client, ClientState, Inbox, Upload, batch, full_gradient
from fedlocal.rounds.runtime_interface import ClientParts, CohortWork, RunSize, everything
from fedlocal.runtime.group_size import (
    EXECUTORS,
    Executor,
    budget,
    describe_groups,
    group_size,
    groups,
    peak_bytes,
)
from fedlocal.runtime.padded import equal_rows, pad_work, same_shapes, whole
from fedlocal.runtime.round_parts import Parts, begin_of_many, parts_of
from fedlocal.runtime.tracing.backends import PROGRAMS, RECORD_FROM, Program
from fedlocal.runtime.tracing.trace import NotTraceable, record
from fedlocal.runtime.vmap_trial import NotBatchable, why_not_together
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, concatenate, map_rows, take, tree_map

# Group size of a short run of a small model, for which measuring memory costs more than it saves.
USUAL = 64
SMALL = 8 << 20


@dataclass(frozen=True)
class Vmapped:
    """Runtime that runs groups of clients at once.

    Clients with different numbers of steps are padded, and masked outside of the loss. A batch is
    padded only where a trial of the run's model and loss showed that this is exact; otherwise
    clients with different batch sizes are in different groups.

    Attributes:
        clients_per_batch: Size of a group; None leaves it to `executor`.
        executor: "vectorised" runs a whole cohort at once, "sequential" one client after another,
            "chunked" and "auto" as many at once as fit into memory (on a CPU: into the caches).
        program: Execution of a local step. "direct" re-traces vmap and grad at every step,
            "recorded" traces the step once, "compiled" passes the trace to torch's compiler (half a
            minute); "auto" chooses by the number of steps. Results differ by rounding at most. A
            trace is given up when a Python value that the model, the loss or the strategy reads
            changes (see `rounds.changes`).
    """

    clients_per_batch: int | None = None
    executor: Executor = "auto"
    program: Program = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError for an empty group or an unknown option."""
        if self.clients_per_batch is not None and self.clients_per_batch < 1:
            raise ValueError(f"clients_per_batch must be >= 1, got {self.clients_per_batch}")
        for name, allowed in (("executor", EXECUTORS), ("program", PROGRAMS)):
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")

    def runner(self, client: ClientParts, ahead: RunSize) -> "VmappedRunner":
        """See `Runtime.runner`."""
        return VmappedRunner(self, client, ahead)


class Ready(NamedTuple):
    """Decisions of a runner: the group size, and the parts of a group's round.

    reason: Reason why clients run one at a time although groups were requested; "" if they do not.
    """

    size: int
    alike: list[int]
    parts: Parts
    reason: str = ""


class VmappedRunner:
    """See `Vmapped`. Decides when it sees the first cohort."""

    def __init__(self, settings: Vmapped, client: ClientParts, ahead: RunSize) -> None:
        self._settings = settings
        self._client = client
        self._ahead = ahead
        self._pads = client.gradients.pads
        self._followed = ""
        self._ready: Ready | None = None

    @property
    def about(self) -> str:
        """See `Runner.about`."""
        if self._ready is None:
            return ""
        size, alike, parts, reason = self._ready
        about = f"{describe_groups(size, alike)}; local steps {parts.program()}"
        about += f"; one client at a time: {reason}" if reason else ""
        return f"{about}, as {self._followed}" if self._followed else about

    def stop_tracing(self, reason: str) -> None:
        """See `Runner.stop_tracing`; padding stops too, and the check of vmap is repeated."""
        self._settings = replace(self._settings, program="direct")
        self._pads = lambda: False
        self._followed = reason
        self._ready = None

    def run(
        self, states: ClientState, inbox: Inbox, plan: CohortWork
    ) -> tuple[ClientState, Upload]:
        """See `Runner.run`."""
        self._ready = self._ready or self._decide(states, inbox, plan)
        parts = [part for rows in self._alike(plan) for part in groups(rows, self._ready.size)]
        with products_in(self._client.gradients.precision), _quiet():
            results = [
                self._run_group(self._ready.parts, states, inbox, plan, rows) for rows in parts
            ]
        return _in_order(results, parts, inbox.model.device)

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """See `Runner.gradients`."""
        gradients = self._client.gradients
        alike = equal_rows(np.array([[len(own)] for own in examples]))
        if len(alike) > 1 and self._pads():
            alike = [np.arange(len(examples))]
        size = self._settings.clients_per_batch or USUAL
        many = map_rows(lambda x, own, part: full_gradient(gradients, x, own, part))

        def of_group(rows: IntArray) -> Tensor:
            keyed = keys[rows] if keys.size else keys
            part = everything([examples[row] for row in rows], keyed, models, self._pads)
            ids = torch.from_numpy(rows).to(models.device)
            return many(models[ids], take(own, ids), part)

        parts = [part for rows in alike for part in groups(rows, size)]
        with products_in(gradients.precision), _quiet():
            return _in_order([of_group(rows) for rows in parts], parts, models.device)

    def _alike(self, plan: CohortWork) -> list[IntArray]:
        """Return rows of the plan that can share a group, the longest work first.

        Clients with similar numbers of steps share a group, which keeps padding small.
        """
        kinds = same_shapes(plan)
        if len(kinds) > 1 and self._pads():
            kinds = [np.arange(len(plan.clients))]
        return [rows[np.argsort(-plan.steps[rows], kind="stable")] for rows in kinds]

    def _run_group(
        self, parts: Parts, states: ClientState, inbox: Inbox, plan: CohortWork, rows: IntArray
    ) -> tuple[ClientState, Upload]:
        every = whole(rows, len(plan.clients))
        picked = slice(None) if every else torch.from_numpy(rows).to(inbox.model.device)
        own, inbox = take((states, inbox), picked)
        work = pad_work(plan, rows, inbox.model, self._pads)
        at_start, local = parts.begin(own, inbox, work)
        # Contiguous from the first step on: a traced step is made for one memory layout.
        local = tree_map(Tensor.contiguous, local)
        local = parts.steps(local, at_start, work, inbox.correction)
        return parts.end(own, at_start, local, inbox.correction, work)

    def _decide(self, states: ClientState, inbox: Inbox, plan: CohortWork) -> Ready:
        settings, (steps, clients) = self._settings, self._ahead
        reason = self._why_not_together(states, inbox, plan)
        size = 1 if reason else settings.clients_per_batch or self._fitting(states, inbox, plan)
        count, device = -(-clients // size), inbox.model.device
        parts = parts_of(self._client, settings.program, steps, count, device)
        kinds = self._alike(plan)
        # The first cohort of some runs is not of the usual size.
        alike = [len(rows) for rows in kinds] if len(kinds) > 1 else [clients]
        return Ready(size, alike, parts, reason)

    def _why_not_together(self, states: ClientState, inbox: Inbox, plan: CohortWork) -> str:
        """Return why clients cannot run as one batch; "" if they can or are not asked to."""
        settings = self._settings
        pair = next((rows[:2] for rows in self._alike(plan) if len(rows) > 1), None)
        if pair is None or settings.clients_per_batch == 1 or settings.executor == "sequential":
            return ""
        ids = torch.from_numpy(pair).to(inbox.model.device)
        work = pad_work(plan, pair, inbox.model, self._pads)
        own, mail = take((states, inbox), ids)
        reason = why_not_together(self._client, own, mail, work)
        if reason and not isinstance(self._client, Client):
            # Clients of several runs: each run trains alone and reports the reason.
            raise NotBatchable(reason)
        return reason

    def _fitting(self, states: ClientState, inbox: Inbox, plan: CohortWork) -> int:
        """Return the group size that suits the model and the memory."""

        def need() -> int:
            own, one = take((states, inbox), slice(1))
            work = pad_work(plan, np.array([0]), one.model, self._pads)
            at_start, local = begin_of_many(self._client)(own, one, work)
            given = (local, at_start, batch(work, 0), one.correction, work.rates[0])
            try:
                # Under vmap: the step of a single client consists of fewer operations.
                return peak_bytes(record(torch.vmap(self._client.step), given)[0])
            except NotTraceable:
                # The step depends on values and cannot be traced: the size for a small model.
                return budget(one.model.device) // USUAL

        executor, (steps, clients) = self._settings.executor, self._ahead
        if executor == "auto" and steps < RECORD_FROM and inbox.model.nbytes < SMALL:
            return USUAL
        return group_size(executor, clients, need, inbox.model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's warnings that vmap runs an operation in a loop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        yield


def _in_order(results: list[Tree], parts: list[IntArray], device: torch.device) -> Tree:
    """Return the results of groups of rows as one tree in the order of the rows."""
    joined, order = concatenate(results) if len(results) > 1 else results[0], np.concatenate(parts)
    if whole(order, len(order)):
        return joined
    return take(joined, torch.from_numpy(np.argsort(order)).to(device))
