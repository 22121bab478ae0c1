"""Mime and MimeLite: local steps that mimic those of a centralised optimiser with momentum.

The momentum is the server's, computed from gradients over whole clients, and stays as it is while
clients step. Mime also replaces a mini-batch's gradient by its change since the round began, plus
the mean gradient there, which removes most of the noise and of the differences between clients.

    Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh. Mime: Mimicking Centralized Stochastic
    Algorithms in Federated Learning. 2020. https://arxiv.org/abs/2008.03606

Paper symbol -> name here: beta -> momentum, s -> momentum of `Frozen`, c -> mean, eta -> lr,
x -> start, y_i -> x.
The step is the paper's, y <- y - lr ((1 - beta) d + beta s) and s <- beta s + (1 - beta) c; fedjax
has PyTorch's form, which is this one with lr / (1 - beta). Weights are example counts as in fedjax.
Mime needs c before the first local step, so its round has two exchanges: model down, gradients
up, then model and (s, c) down, changes up. MimeLite's gradients travel with the changes.
Weight decay is part of every gradient, so of s too. Momentum is the frozen one and has no Nesterov
form, which is refused; a client's own would be what the method replaces.
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


class Frozen(NamedTuple):
    """momentum: s, [P]. mean: c, the cohort's mean gradient, [P]; () in MimeLite."""

    momentum: Tensor
    mean: Tree


@dataclass(frozen=True)
class FrozenMomentum(Correction):
    """MimeLite: step along (1 - beta) g + beta s; full gradients travel up with the change."""

    momentum: float
    weight_decay: float = 0.0
    reads_all_data: ClassVar[bool] = True
    batched_fields: ClassVar[tuple[str, ...]] = ("momentum", "weight_decay")

    def __post_init__(self) -> None:
        """Refuse values that diverge."""
        check_momentum("momentum", self.momentum)
        check_weight_decay(self.weight_decay)

    def control(self, x: Tensor) -> Frozen:
        return Frozen(torch.zeros_like(x), ())

    def begin(self, state: Tree, start: Tensor, control: Frozen, full_gradient: Tree) -> Tree:
        # For `end` to report; nothing is kept between rounds.
        return full_gradient

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        decayed = grad + self.weight_decay * x
        return (1 - self.momentum) * decayed + self.momentum * view.control.momentum

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: Frozen
    ) -> tuple[Tree, Tree]:
        return (), state

    def combine(self, control: Frozen, reports: Tree, received: Tensor, info: Round) -> Frozen:
        return self._followed(control, weighted_mean(reports, info.weights), info)

    def _followed(self, control: Frozen, mean: Tensor, info: Round) -> Frozen:
        mean = mean + self.weight_decay * weighted_mean(info.read, info.weights)
        momentum = self.momentum * control.momentum + (1 - self.momentum) * mean
        return control._replace(momentum=momentum)


@dataclass(frozen=True)
class FrozenMomentumReducedVariance(FrozenMomentum):
    """Mime: as MimeLite with g(y) - g(x) + c on each mini-batch; c comes from an exchange before.

    That takes two gradients a step.
    """

    reads_all_data: ClassVar[bool] = False
    surveys: ClassVar[bool] = True

    def control(self, x: Tensor) -> Frozen:
        return Frozen(torch.zeros_like(x), torch.zeros_like(x))

    def surveyed(self, control: Frozen, gradients: Tensor, weights: Tensor) -> Frozen:
        return control._replace(mean=weighted_mean(gradients, weights))

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        reduced = grad - view.gradient(view.start) + view.control.mean
        return super().correct(reduced, x, state, view)

    def combine(self, control: Frozen, reports: Tree, received: Tensor, info: Round) -> Frozen:
        return self._followed(control, control.mean, info)


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
    """Mime, or MimeLite, with `period` local steps per round."""
    reason = "its momentum is frozen while clients step. Leave it out, or take slowmo"
    check_without("mime", reason, nesterov=nesterov)
    correction = FrozenMomentum if lite else FrozenMomentumReducedVariance
    return Strategy(
        inner=SGD(lr),
        correction=correction(momentum, weight_decay),
        period=period_of(period),
        mixing=WeightedMean(weights),
        outer=OuterSGD(server_lr),
    )
