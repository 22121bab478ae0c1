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

import torch
from torch import Tensor

from fedlocal.correction import Proximal
from fedlocal.inner import sgd
from fedlocal.mixing import WeightedMean, Weights
from fedlocal.outer import SlowMomentum
from fedlocal.period import period_of
from fedlocal.pieces import Guarantee, Period, Rate, Round
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree, weighted_mean


@dataclass(frozen=True)
class NormalisedMean(WeightedMean):
    """The weighted mean of changes, each per unit of its length, times the cohort's mean length.

    A length is |a_i|_1 times the mean rate of the client's steps, which is exact for SGD under any
    schedule, and for momentum and the proximal term under one that changes between rounds.

    Attributes:
        momentum, mu: Of the clients' steps; buffers begin every round at zero.
    """

    momentum: float = 0.0
    mu: float = 0.0

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Changes are rescaled before they are averaged."""
        return frozenset({Guarantee.PLAIN_MEAN})

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        rates = info.step_sums / info.steps
        common = info.weights @ (rates * self.reach(info.steps, 0 * rates))
        lengths = rates * self.reach(info.steps, self.mu * rates)
        move = weighted_mean(received / lengths.unsqueeze(1), info.weights) * common
        return move.unsqueeze(0), state

    def reach(self, steps: Tensor, pull: Tensor) -> Tensor:
        """How far a constant gradient of 1 carries clients in `steps` [S] steps of size 1, [S]."""
        reached = velocity = torch.zeros_like(steps)
        for step in range(int(steps.max())):
            velocity = self.momentum * velocity + 1 - pull * reached
            reached = reached + torch.where(step < steps, velocity, 0.0)
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
) -> Strategy:
    """FedNova with `period` local steps, or with `epochs` passes over each client's own data."""
    return Strategy(
        inner=sgd(lr, "reset", momentum, weight_decay=weight_decay),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=NormalisedMean(weights, momentum, mu),
        outer=SlowMomentum(1.0, server_momentum),
    )
