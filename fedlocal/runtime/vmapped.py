"""The fast runtime: many clients of a round as one batch, with `torch.vmap`."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.client import ClientState, Inbox, Upload, batch, full_gradient
from fedlocal.clients import IntArray
from fedlocal.precision import products_in
from fedlocal.recorded.graph import record
from fedlocal.recorded.program import PROGRAMS, RECORD_FROM, Program
from fedlocal.runtime.groups import (
    EXECUTORS,
    Executor,
    budget,
    described,
    group_size,
    groups,
    peak_bytes,
)
from fedlocal.runtime.padded import padded, whole
from fedlocal.runtime.parts import Parts, begin_of_many, parts_of
from fedlocal.runtime.runtime import Ahead, ClientParts, Plan, everything
from fedlocal.trees import concatenate, take, tree_map

# A short run of a small model: to measure its memory would cost more than it saves.
USUAL = 64
SMALL = 8 << 20


@dataclass(frozen=True)
class Vmapped:
    """Runs groups of clients at once; clients that differ in size or steps are padded and masked.

    Attributes:
        clients_per_batch: Size of a group; None leaves it to `executor`.
        executor: "vectorised" runs a whole cohort at once, "sequential" one client after another,
            "chunked" and "auto" as many at once as the memory holds (on a CPU: as the caches do).
        program: What runs a local step. "direct" takes the step apart anew each time, "recorded"
            once, "compiled" hands the record to torch's compiler (half a minute); "auto" decides by
            the work ahead. Results differ by rounding at most.
    """

    clients_per_batch: int | None = None
    executor: Executor = "auto"
    program: Program = "auto"

    def __post_init__(self) -> None:
        """Refuse an empty group, and words that mean nothing."""
        if self.clients_per_batch is not None and self.clients_per_batch < 1:
            raise ValueError(f"clients_per_batch must be >= 1, got {self.clients_per_batch}")
        for name, allowed in (("executor", EXECUTORS), ("program", PROGRAMS)):
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")

    def runner(self, client: ClientParts, ahead: Ahead) -> "VmappedRunner":
        """See `Runtime.runner`."""
        return VmappedRunner(self, client, ahead)


class Ready(NamedTuple):
    """What a runner has decided: the size of its groups, and what does their round."""

    size: int
    parts: Parts


class VmappedRunner:
    """See `Vmapped`. Decides when it sees the first cohort."""

    def __init__(self, settings: Vmapped, client: ClientParts, ahead: Ahead) -> None:
        self._settings = settings
        self._client = client
        self._ahead = ahead
        self._ready: Ready | None = None

    @property
    def about(self) -> str:
        """See `Runner.about`."""
        if self._ready is None:
            return ""
        size, parts = self._ready
        return f"{described(size, self._ahead.clients)}; local steps {parts.program()}"

    def run(self, states: ClientState, inbox: Inbox, plan: Plan) -> tuple[ClientState, Upload]:
        """See `Runner.run`."""
        self._ready = self._ready or self._decide(states, inbox, plan)
        # Clients with like numbers of steps share a group, so that little of it is padding.
        order = np.argsort(-plan.steps, kind="stable")
        with products_in(self._client.gradients.precision):
            results = [
                self._run_group(self._ready.parts, states, inbox, plan, rows)
                for rows in groups(order, self._ready.size)
            ]
        joined = results[0] if len(results) == 1 else concatenate(results)
        if whole(order, len(order)):
            return joined
        return take(joined, torch.from_numpy(np.argsort(order)).to(inbox.model.device))

    def gradients(self, models: Tensor, examples: list[IntArray]) -> Tensor:
        """See `Runner.gradients`."""

        def of_group(rows: IntArray) -> Tensor:
            parts = everything([examples[row] for row in rows], models)
            return of_many(models[torch.from_numpy(rows).to(models.device)], parts)

        plain = self._client.gradients.plain
        of_many = torch.vmap(lambda x, part: full_gradient(plain, x, part))
        size = self._settings.clients_per_batch or USUAL
        with products_in(self._client.gradients.precision):
            return torch.cat([of_group(rows) for rows in groups(np.arange(len(examples)), size)])

    def _run_group(
        self, parts: Parts, states: ClientState, inbox: Inbox, plan: Plan, rows: IntArray
    ) -> tuple[ClientState, Upload]:
        every = whole(rows, len(plan.clients))
        picked = slice(None) if every else torch.from_numpy(rows).to(inbox.model.device)
        own, inbox = take((states, inbox), picked)
        work = padded(plan, rows, inbox.model)
        begun, local = parts.begin(own, inbox, work)
        # Of one layout from the first step on: a program is made for a layout.
        local = tree_map(Tensor.contiguous, local)
        local = parts.steps(local, begun, work, inbox.correction)
        return parts.end(own, begun, local, inbox.correction, work)

    def _decide(self, states: ClientState, inbox: Inbox, plan: Plan) -> Ready:
        settings, (steps, clients) = self._settings, self._ahead
        size = settings.clients_per_batch or self._fitting(states, inbox, plan)
        count, device = -(-clients // size), inbox.model.device
        return Ready(size, parts_of(self._client, settings.program, steps, count, device))

    def _fitting(self, states: ClientState, inbox: Inbox, plan: Plan) -> int:
        """The size of groups that suits the model and the memory."""

        def need() -> int:
            own, one = take((states, inbox), slice(1))
            work = padded(plan, np.array([0]), one.model)
            begun, local = begin_of_many(self._client)(own, one, work)
            given = (local, begun, batch(work, 0), one.correction, work.rates[0])
            try:
                # As one of many: by itself it is taken apart less.
                return peak_bytes(record(torch.vmap(self._client.step), given)[0])
            except Exception:
                # It depends on values and has no record: as many as a small model takes.
                return budget(one.model.device) // USUAL

        executor, (steps, clients) = self._settings.executor, self._ahead
        if executor == "auto" and steps < RECORD_FROM and inbox.model.nbytes < SMALL:
            return USUAL
        return group_size(executor, clients, need, inbox.model)
