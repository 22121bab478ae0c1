"""The plain runtime: one client after another, no padding. For debugging and as the reference."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlocal.client import ClientState, Inbox, Upload, Work
from fedlocal.runtime.runtime import OneClient, Plan, everything
from fedlocal.trees import stack, take


@dataclass(frozen=True)
class Loop:
    """Runs the clients one by one."""

    def run(
        self, one_client: OneClient, states: ClientState, inbox: Inbox, plan: Plan
    ) -> tuple[ClientState, Upload]:
        """See `Runtime.run`."""
        results = [
            one_client(
                take(states, row),
                inbox._replace(model=inbox.model[row]),
                _work(plan, row, inbox.model),
            )
            for row in range(len(plan.clients))
        ]
        return stack([state for state, _ in results]), stack([upload for _, upload in results])


def _work(plan: Plan, row: int, like: Tensor) -> Work:
    return Work(
        indices=torch.tensor(plan.indices[row], device=like.device),
        mask=(),
        active=(),
        rates=torch.tensor(plan.rates[: plan.steps[row]], dtype=like.dtype).to(like.device),
        noise=plan.noise[row],
        everything=take(everything([plan.everything[row]], like), 0) if plan.everything else (),
        draws=torch.from_numpy(plan.draws[row]).to(like.device) if plan.draws else (),
    )
