"""A client of any of several runs, with the numbers of its own run's strategy."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fedlocal.objective.gradients import Batch, Gradients, Own
from fedlocal.rounds.client import Client, ClientState, Inbox, Local, PaddedWork, Upload
from fedlocal.runtime.stacked.varying_numbers import Path, with_values
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True, eq=False)
class StackedClient:
    """Round of a `Client` whose state holds the numbers of its run: (numbers, state).

    Attributes:
        client: Client of one of the runs.
        paths: Places of the numbers in its strategy.
    """

    client: Client
    paths: tuple[Path, ...]

    @property
    def gradients(self) -> Gradients:
        """Gradient functions of the objective, which all runs share."""
        return self.client.gradients

    def parts(self, state: Tree, inbox: Inbox) -> Own:
        """See `Client.parts`."""
        return self.client.parts(state[1], inbox)

    def begin(self, state: Tree, inbox: Inbox, work: PaddedWork) -> tuple[Tree, Local]:
        """See `Client.begin`."""
        numbers, own = state
        at_start, local = self._with(numbers).begin(own, inbox, work)
        return (numbers, at_start), local

    def step(self, local: Local, at_start: Tree, batch: Batch, control: Tree, lr: Tensor) -> Local:
        """See `Client.step`."""
        numbers, own = at_start
        return self._with(numbers).step(local, own, batch, control, lr)

    def end(
        self, state: Tree, at_start: Tree, local: Local, control: Tree, work: PaddedWork
    ) -> tuple[ClientState, Upload]:
        """See `Client.end`; the next state is without the numbers."""
        numbers, own = at_start
        return self._with(numbers).end(state[1], own, local, control, work)

    def _with(self, numbers: Any) -> Client:
        return replace(self.client, strategy=with_values(self.client.strategy, self.paths, numbers))
