"""SCAFFOLD: every local gradient is corrected by the difference of two control variates.

A client keeps an estimate of its own gradient and the server one of the mean gradient. Stepping
along "mine corrected to everybody's" keeps clients with different data from drifting apart, also
when only some of them take part.

    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh. SCAFFOLD: Stochastic Controlled Averaging for
    Federated Learning. 2020. https://arxiv.org/abs/1910.06378

Paper symbol -> name here: c_i -> own, c -> mean, eta_l -> lr, eta_g -> server_lr, K -> period,
K eta_l -> step_sum, y_i -> belief, x -> start.
Differences from the paper: with option II nothing but the model's change travels up, since the
server can read c_i+ - c_i = -c - (y_i - x) / (K eta_l) out of it. The rule uses what the server
believes y_i to be, so that c stays the mean of the c_i behind a lossy uplink.

With momentum, K eta_l is the sum of the effective step sizes (`InnerOptimiser.effective`), and
buffers begin every round at zero. So c_i is a mean of gradients, each with the weight that it has
in the client's change; K eta_l itself would make c_i too large by up to 1 / (1 - momentum), and
diverge. Weight decay is part of the gradient. c is a plain mean, so weights by examples are
refused.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Correction, Guarantee, Period, Rate, Round, View
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree


class Own(NamedTuple):
    """own: c_i, [P]."""

    own: Tensor


class Mean(NamedTuple):
    """mean: c, [P]: always the plain mean of all clients' c_i."""

    mean: Tensor


class Renewed(NamedTuple):
    """own: c_i, [P]. fresh: The gradient at the server's model, to become c_i, [P]."""

    own: Tensor
    fresh: Tensor


@dataclass(frozen=True)
class ControlVariates(Correction):
    """Step along g - c_i + c. Option II: c_i becomes the mean gradient of the round's steps."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """That a change tells the mean gradient, and that c is the plain mean of the c_i."""
        known = {Guarantee.LINEAR_STEPS, Guarantee.FRESH_BUFFERS}
        return super().requires | known | {Guarantee.EQUAL_WEIGHTS}

    def init(self, x: Tensor) -> Own:
        return Own(torch.zeros_like(x))

    def control(self, x: Tensor) -> Mean:
        return Mean(torch.zeros_like(x))

    def correct(self, grad: Tensor, x: Tensor, state: Own | Renewed, view: View) -> Tensor:
        return grad - state.own + view.control.mean

    def end(
        self, state: Own, start: Tensor, belief: Tensor, step_sum: Tensor, control: Mean
    ) -> tuple[Tree, Tree]:
        return Own(state.own - control.mean + (start - belief) / step_sum), ()

    def combine(self, control: Mean, reports: Tree, received: Tensor, info: Round) -> Mean:
        changes = -control.mean - received / info.step_sums.unsqueeze(1)
        return Mean(control.mean + info.fraction * changes.mean(0))


@dataclass(frozen=True)
class FullGradientVariates(ControlVariates):
    """Option I: c_i becomes the gradient over all of the client's data at the server's model."""

    reads_all_data: ClassVar[bool] = True

    def begin(self, state: Own, start: Tensor, control: Mean, full_gradient: Tensor) -> Renewed:
        return Renewed(state.own, full_gradient)

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: Mean
    ) -> tuple[Tree, Tree]:
        return Own(state.fresh), state.fresh - state.own

    def combine(self, control: Mean, reports: Tensor, received: Tensor, info: Round) -> Mean:
        return Mean(control.mean + info.fraction * reports.mean(0))


VARIATES = {"I": FullGradientVariates, "II": ControlVariates}


def scaffold(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    server_lr: float = 1.0,
    option: Literal["I", "II"] = "II",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """SCAFFOLD with `period` local steps per round, and option I or II of the paper for c_i."""
    if option not in VARIATES:
        raise ValueError(f"option must be 'I' or 'II', got {option!r}; 'II' costs no extra pass")
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=VARIATES[option](),
        period=period_of(period),
        outer=OuterSGD(server_lr),
    )
