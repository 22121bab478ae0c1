"""Mime and MimeLite: local steps that mimic a centralised optimiser with momentum.

The server computes the momentum from full-batch gradients of the clients, and it is constant during
local steps. Mime also replaces each mini-batch gradient by its change since the round's start plus
the cohort's mean gradient there. This removes most of the gradient noise and of the client drift.

    Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh. Mime: Mimicking Centralized Stochastic
    Algorithms in Federated Learning. 2020. https://arxiv.org/abs/2008.03606

Paper symbol -> name here: beta -> momentum, s -> `ServerStatistics.momentum`, c -> mean, eta -> lr,
x -> start, y_i -> x.
The step is the paper's, y <- y - lr ((1 - beta) d + beta s) and s <- beta s + (1 - beta) c; fedjax
uses PyTorch's form, which is this one with lr / (1 - beta). Weights are example counts as in
fedjax. Mime needs c before the first local step, so its round has two exchanges: model down,
gradients up; then model and (s, c) down, changes up. MimeLite uploads gradients with the changes.
Weight decay is part of every gradient, hence of s. The momentum is the server's; it has no Nesterov
form, so `nesterov` is refused.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Correction, Period, Rate, Round, View
from fedlocal.slots.inner.sgd import SGD, check_momentum, check_weight_decay, check_without
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, weighted_mean


class ServerStatistics(NamedTuple):
    """Statistics that the server broadcasts.

    momentum: s, [P].
    mean: c, the cohort's mean gradient, [P]; () in MimeLite.
    """

    momentum: Tensor
    mean: Tree


@dataclass(frozen=True)
class FrozenMomentum(Correction):
    """MimeLite: step along (1 - beta) g + beta s; full gradients are uploaded with the change."""

    momentum: float
    weight_decay: float = 0.0
    reads_all_data: ClassVar[bool] = True
    batched_fields: ClassVar[tuple[str, ...]] = ("momentum", "weight_decay")

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 <= momentum < 1 and weight_decay >= 0."""
        check_momentum("momentum", self.momentum)
        check_weight_decay(self.weight_decay)

    def control(self, x: Tensor) -> ServerStatistics:
        return ServerStatistics(torch.zeros_like(x), ())

    def begin(
        self, state: Tree, start: Tensor, control: ServerStatistics, full_gradient: Tree
    ) -> Tree:
        # Kept for the report in `end`; there is no state between rounds.
        return full_gradient

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        decayed = grad + self.weight_decay * x
        return (1 - self.momentum) * decayed + self.momentum * view.control.momentum

    def end(
        self,
        state: Tree,
        start: Tensor,
        belief: Tensor,
        step_sum: Tensor,
        control: ServerStatistics,
    ) -> tuple[Tree, Tree]:
        return (), state

    def combine(
        self, control: ServerStatistics, reports: Tree, received: Tensor, info: Round
    ) -> ServerStatistics:
        return self._update(control, weighted_mean(reports, info.weights), info)

    def _update(self, control: ServerStatistics, mean: Tensor, info: Round) -> ServerStatistics:
        mean = mean + self.weight_decay * weighted_mean(info.read, info.weights)
        momentum = self.momentum * control.momentum + (1 - self.momentum) * mean
        return control._replace(momentum=momentum)


@dataclass(frozen=True)
class VarianceReducedFrozenMomentum(FrozenMomentum):
    """Mime: MimeLite with g(y) - g(x) + c in place of each mini-batch gradient g(y).

    c comes from a gradient exchange at the round's start. A step takes two gradients.
    """

    reads_all_data: ClassVar[bool] = False
    needs_gradient_exchange: ClassVar[bool] = True

    def control(self, x: Tensor) -> ServerStatistics:
        return ServerStatistics(torch.zeros_like(x), torch.zeros_like(x))

    def combine_gradients(
        self, control: ServerStatistics, gradients: Tensor, weights: Tensor
    ) -> ServerStatistics:
        return control._replace(mean=weighted_mean(gradients, weights))

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        reduced = grad - view.gradient(view.start) + view.control.mean
        return super().correct(reduced, x, state, view)

    def combine(
        self, control: ServerStatistics, reports: Tree, received: Tensor, info: Round
    ) -> ServerStatistics:
        return self._update(control, control.mean, info)


def mime(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    momentum: float = 0.9,
    lite: bool = False,
    server_lr: float = 1.0,
    weights: Weights = "examples",
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return Mime with `period` local steps per round, or MimeLite if `lite`.

    `momentum`, in [0, 1), is the server's. `server_lr` scales the mean change; 1 takes the mean.
    """
    reason = "its momentum is constant during local steps. Leave it out, or take slowmo"
    check_without("mime", reason, nesterov=nesterov)
    correction = FrozenMomentum if lite else VarianceReducedFrozenMomentum
    return Strategy(
        inner=SGD(lr),
        correction=correction(momentum, weight_decay),
        period=period_of(period),
        mixing=WeightedMean(weights),
        outer=OuterSGD(server_lr),
    )
