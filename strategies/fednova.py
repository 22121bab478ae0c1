"""FedNova: clients that took more local steps no longer pull harder.

Each client's change is divided by how far its own steps would carry a constant gradient, and the
mean of these is scaled up again by one common length. So unequal work costs nothing in bias.

    Wang, Liu, Liang, Joshi, Poor. Tackling the Objective Inconsistency Problem in Heterogeneous
    Federated Optimization. 2020. https://arxiv.org/abs/2007.07481

Paper symbol -> name here: |a_i|_1 -> reach, tau_i -> info.steps, p_i -> weights, rho -> momentum,
eta -> rates, alpha = eta mu -> pull, gamma of the server -> server_momentum.
tau_eff is the mean of |a_i|_1 with the proximal term left out: sum p_i tau_i for SGD with or
without that term, sum p_i |a_i|_1 with momentum, as in the authors' code. Differences from that
code: with momentum and the proximal term together |a_i|_1 is that of the recursion that is run,
where the code's adds up two recursions. The server computes it from the number of steps, so that
only the model travels.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlocal.slots import Guarantee, Period, Rate, Round
from fedlocal.slots.correction.proximal import Proximal
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import SlowMomentum
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, weighted_mean


@dataclass(frozen=True)
class NormalisedMean(WeightedMean):
    """The weighted mean of changes, each per unit of its length, times the cohort's mean length.

    A length is |a_i|_1 times the rates of the client's steps, exact under any schedule; with the
    proximal term times their mean rate, exact under one that changes between rounds.

    Attributes:
        momentum, nesterov, mu: Of the clients' steps; buffers begin every round at zero.
    """

    momentum: float = 0.0
    mu: float = 0.0
    nesterov: bool = False
    batched_fields: ClassVar[tuple[str, ...]] = ("momentum", "mu")

    @property
    def requires(self) -> frozenset[Guarantee]:
        """That a length is known, which is so for linear steps from empty buffers."""
        return super().requires | {Guarantee.LINEAR_STEPS, Guarantee.FRESH_BUFFERS}

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Changes are rescaled before they are averaged."""
        return super().breaks | {Guarantee.PLAIN_MEAN}

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        rates = info.step_sums / self.reach(info.steps, torch.zeros_like(info.steps))
        common = info.weights @ info.step_sums
        lengths = rates * self.reach(info.steps, self.mu * rates)
        move = weighted_mean(received / lengths.unsqueeze(1), info.weights) * common
        return move.unsqueeze(0), state

    def reach(self, steps: Tensor, pull: Tensor) -> Tensor:
        """How far a constant gradient of 1 carries clients in `steps` [S] steps of size 1, [S]."""
        reached = velocity = torch.zeros_like(steps)
        for step in range(int(steps.max())):
            grad = 1 - pull * reached
            velocity = self.momentum * velocity + grad
            along = grad + self.momentum * velocity if self.nesterov else velocity
            reached = reached + torch.where(step < steps, along, 0.0)
        return reached


def fednova(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    epochs: float | None = None,
    momentum: float = 0.0,
    mu: float = 0.0,
    server_momentum: float = 0.0,
    weight_decay: float = 0.0,
    weights: Weights = "examples",
    nesterov: bool = False,
) -> Strategy:
    """FedNova with `period` local steps, or with `epochs` passes over each client's own data."""
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=NormalisedMean(weights, momentum, mu, nesterov),
        outer=SlowMomentum(1.0, server_momentum),
    )
