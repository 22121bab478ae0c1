"""FedDyn: a dynamic regulariser makes the clients' optima agree with the common one.

Every client adds a linear and a quadratic term to its loss and updates the linear one from where
it ended; at the end of training its own optimum is a stationary point of the common loss.

    Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama. Federated Learning Based on Dynamic
    Regularization. 2021. https://arxiv.org/abs/2111.04263

Paper symbol -> name here: alpha -> alpha, the gradient of L_k at theta_k -> own (g_k),
theta^(t-1) -> start, theta_k -> belief, h -> alpha * lead.
Differences from the paper: clients take `period` SGD steps instead of minimising exactly, as the
authors' code does too. Every client has the same alpha; that code scales it by the client's share
of the examples. Any local solver will do, so momentum is allowed; it begins every round at zero.
Weight decay is part of the client's loss. h is a plain mean, so weights by examples are refused.
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


class Own(NamedTuple):
    """own: g_k, [P]. Its plain mean over all clients is alpha * lead."""

    own: Tensor


class Lead(NamedTuple):
    """lead: h / alpha, [A, P]. Every client's moves so far, added up and divided by K, negated."""

    lead: Tensor


@dataclass(frozen=True)
class DynamicRegulariser(Correction):
    """Step along g - g_k + alpha (x - start)."""

    alpha: float
    batched_fields: ClassVar[tuple[str, ...]] = ("alpha",)

    def __post_init__(self) -> None:
        """Refuse a term that pushes away, or none, which h / alpha has no limit for."""
        check_number("alpha", self.alpha)
        if not 0 < self.alpha < float("inf"):
            raise ValueError(
                f"alpha must be positive and finite, got {self.alpha}; the paper tries 0.001 to 0.1"
            )

    @property
    def requires(self) -> frozenset[Guarantee]:
        """That alpha * lead is the mean of g_k, with which clients' terms add up to nothing."""
        return super().requires | {Guarantee.EQUAL_WEIGHTS}

    def init(self, x: Tensor) -> Own:
        return Own(torch.zeros_like(x))

    def correct(self, grad: Tensor, x: Tensor, state: Own, view: View) -> Tensor:
        return grad - state.own + self.alpha * (x - view.start)

    def end(
        self, state: Own, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[Own, Tree]:
        # The belief: behind a lossy uplink the server adds up what it received.
        return Own(state.own - self.alpha * (belief - start)), ()


@dataclass(frozen=True)
class Leading(OuterOptimiser):
    """The anchor goes to mean theta_k - h / alpha, with h / alpha <- h / alpha - sum / K."""

    def init(self, anchor: Tensor) -> Lead:
        return Lead(torch.zeros_like(anchor))

    def step(self, pseudo_grad: Tensor, state: Lead, info: Round) -> tuple[Tensor, Lead]:
        lead = state.lead + info.fraction * pseudo_grad
        return -pseudo_grad - lead, Lead(lead)


def feddyn(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    alpha: float = 0.1,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Strategy:
    """FedDyn with regulariser `alpha` and `period` local steps per round."""
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=DynamicRegulariser(alpha),
        period=period_of(period),
        outer=Leading(),
    )
