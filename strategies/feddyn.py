"""FedDyn: a dynamic regulariser aligns the clients' optima with the optimum of the mean loss.

Every client adds a linear and a quadratic term to its loss, and updates the linear term from its
model at the end of each round. At convergence each client's optimum is a stationary point of the
mean loss.

    Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama. Federated Learning Based on Dynamic
    Regularization. 2021. https://arxiv.org/abs/2111.04263

Paper symbol -> name here: alpha -> alpha, the gradient of L_k at theta_k -> own (g_k),
theta^(t-1) -> start, theta_k -> belief, h -> alpha * scaled_h.
Differences from the paper: clients take `period` SGD steps instead of minimising exactly, as in the
authors' code. Every client has the same alpha; that code scales it by the client's share of the
examples. Momentum is allowed, since the method permits any local solver; it starts every round at
zero. Weight decay is part of the client's loss. h is a plain mean, so weights by examples are
refused.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Correction, Guarantee, OuterOptimiser, Period, Rate, Round, View
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


class ClientState(NamedTuple):
    """State of `DynamicRegulariser`, one per client.

    own: g_k, [P]. Its plain mean over all clients is alpha * scaled_h.
    """

    own: Tensor


class ServerState(NamedTuple):
    """State of `CorrectedMean`.

    scaled_h: h / alpha, the negated sum of all clients' changes so far divided by K, [A, P].
    """

    scaled_h: Tensor


@dataclass(frozen=True)
class DynamicRegulariser(Correction):
    """Step along the gradient of the regularised loss, g - g_k + alpha (x - start)."""

    alpha: float
    batched_fields: ClassVar[tuple[str, ...]] = ("alpha",)

    def __post_init__(self) -> None:
        """Raise ValueError unless alpha is positive and finite."""
        check_number("alpha", self.alpha, "; the paper tries 0.001 to 0.1", above=0)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return equal weights as well: alpha * scaled_h must be the plain mean of the g_k."""
        return super().requires | {Guarantee.EQUAL_WEIGHTS}

    def init(self, x: Tensor) -> ClientState:
        return ClientState(torch.zeros_like(x))

    def correct(self, grad: Tensor, x: Tensor, state: ClientState, view: View) -> Tensor:
        return grad - state.own + self.alpha * (x - view.start)

    def end(
        self, state: ClientState, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[ClientState, Tree]:
        # The belief and not x: behind a lossy uplink the server sums the decoded changes.
        return ClientState(state.own - self.alpha * (belief - start)), ()


@dataclass(frozen=True)
class CorrectedMean(OuterOptimiser):
    """Server step: h / alpha <- h / alpha - sum / K, the anchor is mean theta_k - h / alpha."""

    def init(self, anchor: Tensor) -> ServerState:
        return ServerState(torch.zeros_like(anchor))

    def step(
        self, pseudo_grad: Tensor, state: ServerState, info: Round
    ) -> tuple[Tensor, ServerState]:
        scaled_h = state.scaled_h + info.fraction * pseudo_grad
        return -pseudo_grad - scaled_h, ServerState(scaled_h)


def feddyn(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    alpha: float = 0.1,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Strategy:
    """Return FedDyn with `period` local steps per round.

    `alpha` is the positive weight of the regulariser; the paper tries 0.001 to 0.1.
    """
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=DynamicRegulariser(alpha),
        period=period_of(period),
        outer=CorrectedMean(),
    )
