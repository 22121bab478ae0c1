"""The plain runtime: one client after another, without padding.

For debugging, and as the reference.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlocal.objective.gradients import Everything, Own
from fedlocal.objective.precision import products_in
from fedlocal.rounds.client import Client, ClientState, Inbox, PaddedWork, Upload, full_gradient
from fedlocal.rounds.runtime_interface import CohortWork, RunSize, everything, shared_steps
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import stack, take


@dataclass(frozen=True)
class Loop:
    """Runtime that runs the clients one by one."""

    def runner(self, client: Client, ahead: RunSize) -> "LoopRunner":
        """See `Runtime.runner`."""
        return LoopRunner(client)


@dataclass(frozen=True, eq=False)
class LoopRunner:
    """See `Loop`."""

    client: Client
    about = "one client after another"

    def stop_tracing(self, reason: str) -> None:
        """See `Runner.stop_tracing`; this runtime never traces."""

    def run(
        self, states: ClientState, inbox: Inbox, plan: CohortWork
    ) -> tuple[ClientState, Upload]:
        """See `Runner.run`."""
        with products_in(self.client.gradients.precision):
            results = [
                self.client.round(
                    take(states, row),
                    take(inbox, row),
                    _work(plan, row, inbox.model),
                )
                for row in range(len(plan.clients))
            ]
        return stack([state for state, _ in results]), stack([upload for _, upload in results])

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """See `Runner.gradients`."""
        gradients = self.client.gradients

        def of_row(row: int) -> Tensor:
            all_of_it = everything([examples[row]], keys[row : row + 1], models, pads=_never)
            return full_gradient(gradients, models[row], take(own, row), take(all_of_it, 0))

        with products_in(gradients.precision):
            return torch.stack([of_row(row) for row in range(len(models))])


def _work(plan: CohortWork, row: int, like: Tensor) -> PaddedWork:
    return PaddedWork(
        indices=torch.tensor(plan.indices[row], device=like.device),
        mask=(),
        active=(),
        rates=torch.tensor(plan.rates[row, : plan.steps[row]], dtype=like.dtype).to(like.device),
        noise=plan.noise[row],
        everything=_everything(plan, row, like) if plan.everything else (),
        draws=torch.from_numpy(plan.draws[row]).to(like.device) if plan.draws else (),
        keys=torch.from_numpy(plan.keys[row]).to(like.device) if plan.keys.size else (),
        shared=shared_steps(plan, plan.steps[row], like) if plan.personal_steps else (),
    )


def _never() -> bool:
    return False


def _everything(plan: CohortWork, row: int, like: Tensor) -> Everything:
    keys = plan.full_keys[row : row + 1]
    # One batch of all examples, which is right for every loss and model.
    return take(everything([plan.everything[row]], keys, like, pads=_never), 0)
