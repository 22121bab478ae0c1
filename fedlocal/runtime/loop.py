"""The plain runtime: one client after another, no padding. For debugging and as the reference."""

from dataclasses import dataclass

import torch

from fedlocal.client import ClientState, Inbox, Upload, Work, client_round
from fedlocal.objective import Objective
from fedlocal.runtime.plan import Plan
from fedlocal.strategy import Strategy
from fedlocal.trees import stack, take


@dataclass(frozen=True)
class Loop:
    """Runs `client_round` once per client."""

    def run(
        self,
        strategy: Strategy,
        objective: Objective,
        states: ClientState,
        inbox: Inbox,
        plan: Plan,
    ) -> tuple[ClientState, Upload]:
        """See `Runtime.run`."""
        results = [
            client_round(
                strategy,
                objective.gradient,
                take(states, row),
                inbox._replace(model=inbox.model[row]),
                self._work(plan, row, inbox),
            )
            for row in range(len(plan.clients))
        ]
        return stack([state for state, _ in results]), stack([upload for _, upload in results])

    @staticmethod
    def _work(plan: Plan, row: int, inbox: Inbox) -> Work:
        like = inbox.model
        return Work(
            indices=torch.tensor(plan.indices[row], device=like.device),
            mask=(),
            active=(),
            rates=torch.tensor(plan.rates[: plan.steps[row]], dtype=like.dtype).to(like.device),
            noise=plan.noise[row],
        )
