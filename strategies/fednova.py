"""FedNova: normalised averaging, so that clients with more local steps get no larger weight.

Each client's change is divided by the distance that its local steps would move along a constant
gradient. The mean of these normalised changes is multiplied by the cohort's mean distance. This
removes the bias of unequal numbers of local steps.

    Wang, Liu, Liang, Joshi, Poor. Tackling the Objective Inconsistency Problem in Heterogeneous
    Federated Optimization. 2020. https://arxiv.org/abs/2007.07481

Paper symbol -> name here: |a_i|_1 -> reach, tau_i -> info.steps, p_i -> weights, rho -> momentum,
eta -> rates, alpha = eta mu -> pull, gamma of the server -> server_momentum.
tau_eff is the mean of |a_i|_1 without the proximal term: sum p_i tau_i for SGD with or without that
term, sum p_i |a_i|_1 with momentum, as in the authors' code. Differences from that code: with both
momentum and the proximal term, |a_i|_1 follows the exact recursion of the local steps, where the
code adds up two recursions. The server computes |a_i|_1 from the number of steps, so that only the
model is uploaded.
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
    """The weighted mean of normalised changes, times the cohort's mean length.

    A client's length is |a_i|_1 times its step sizes, exact under any schedule. With the proximal
    term it uses their mean, which is exact if the step size changes only between rounds.

    Attributes:
        momentum, nesterov: Momentum of the local steps; buffers start every round at zero.
        mu: Weight of the proximal term.
    """

    momentum: float = 0.0
    mu: float = 0.0
    nesterov: bool = False
    batched_fields: ClassVar[tuple[str, ...]] = ("momentum", "mu")

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return linear steps and fresh buffers as well, under which a length is known."""
        return super().requires | {Guarantee.LINEAR_STEPS, Guarantee.FRESH_BUFFERS}

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Return the plain mean as well: changes are rescaled before they are averaged."""
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
        """Compute |a_i|_1, [S], the distance of local steps along a constant gradient of 1.

        Args:
            steps: Number of local steps of size 1 of each client, [S].
            pull: Factor of the proximal term, eta mu, [S].
        """
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
    """Return FedNova with `period` local steps, or `epochs` passes over each client's own data.

    `mu` is the weight of the proximal term, 0 for none; `server_momentum` is in [0, 1).
    """
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=NormalisedMean(weights, momentum, mu, nesterov),
        outer=SlowMomentum(1.0, server_momentum),
    )
