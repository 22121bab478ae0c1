"""The plain runtime: one client after another, no padding. For debugging and as the reference."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlocal.client import Client, ClientState, Inbox, Upload, Work, full_gradient
from fedlocal.clients import IntArray
from fedlocal.precision import products_in
from fedlocal.runtime.runtime import Ahead, Plan, everything
from fedlocal.trees import stack, take


@dataclass(frozen=True)
class Loop:
    """Runs the clients one by one."""

    def runner(self, client: Client, ahead: Ahead) -> "LoopRunner":
        """See `Runtime.runner`."""
        return LoopRunner(client)


@dataclass(frozen=True, eq=False)
class LoopRunner:
    """See `Loop`."""

    client: Client
    about = "one client after another"

    def run(self, states: ClientState, inbox: Inbox, plan: Plan) -> tuple[ClientState, Upload]:
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

    def gradients(self, models: Tensor, examples: list[IntArray]) -> Tensor:
        """See `Runner.gradients`."""
        gradient = self.client.gradients.plain
        parts = [take(everything([own], models), 0) for own in examples]
        each = zip(models, parts, strict=True)
        with products_in(self.client.gradients.precision):
            return torch.stack([full_gradient(gradient, x, part) for x, part in each])


def _work(plan: Plan, row: int, like: Tensor) -> Work:
    return Work(
        indices=torch.tensor(plan.indices[row], device=like.device),
        mask=(),
        active=(),
        rates=torch.tensor(plan.rates[row, : plan.steps[row]], dtype=like.dtype).to(like.device),
        noise=plan.noise[row],
        everything=take(everything([plan.everything[row]], like), 0) if plan.everything else (),
        draws=torch.from_numpy(plan.draws[row]).to(like.device) if plan.draws else (),
    )
