"""The runtime of a run whose clients train in one batch with those of other runs."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from fedlocal.objective.gradients import Own
from fedlocal.rounds.client import Client, ClientState, Inbox, Upload
from fedlocal.rounds.runtime_interface import CohortWork, Runner, RunSize
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.varying_numbers import Split, split
from fedlocal.utils.arrays import IntArray


@dataclass(frozen=True, eq=False)
class BatchedRuntime:
    """Runtime whose cohorts `SweepBatcher` may run together with those of other runs.

    Attributes:
        alone: Runtime of a cohort by itself.
        group_key: Settings by name, in which runs of one batch agree.
    """

    alone: Vmapped
    group_key: Mapping[str, Hashable]

    def runner(self, client: Client, ahead: RunSize) -> "BatchedRunner":
        """See `Runtime.runner`."""
        return BatchedRunner(self, client, ahead, self.alone.runner(client, ahead))


@dataclass(eq=False)
class BatchedRunner:
    """See `BatchedRuntime`. By itself it runs a cohort like the inner runtime.

    Attributes:
        stacked: Whether it has shared a batch.
        reasons: Reasons why it could not.
    """

    runtime: BatchedRuntime
    client: Client
    ahead: RunSize
    alone: Runner
    stacked: bool = False
    reasons: list[str] = field(default_factory=list[str])

    @property
    def about(self) -> str:
        """See `Runner.about`."""
        how = ["stacked with other jobs"] if self.stacked else []
        how += [f"not stacked: {reason}" for reason in self.reasons]
        return "; ".join(filter(None, [*how, self.alone.about]))

    @cached_property
    def fields(self) -> Split:
        """Fields of the run's strategy."""
        return split(self.client.strategy)

    @cached_property
    def group_key(self) -> dict[str, Hashable]:
        """Settings and fields by name, in which runs of one batch agree."""
        fixed = {".".join(path): value for path, value in self.fields.fixed.items()}
        return {**self.runtime.group_key, **fixed}

    def stop_tracing(self, reason: str) -> None:
        """See `Runner.stop_tracing`."""
        self.alone.stop_tracing(reason)

    def run(
        self, states: ClientState, inbox: Inbox, plan: CohortWork
    ) -> tuple[ClientState, Upload]:
        """See `Runner.run`."""
        return self.alone.run(states, inbox, plan)

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """See `Runner.gradients`."""
        return self.alone.gradients(models, own, examples, keys)
