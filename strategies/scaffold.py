"""SCAFFOLD: every local gradient is corrected by the difference of two control variates.

Each client keeps an estimate c_i of its own gradient, and the server keeps their mean c. Local
steps go along g - c_i + c, which prevents clients with different data from drifting apart, also
under partial participation.

    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh. SCAFFOLD: Stochastic Controlled Averaging for
    Federated Learning. 2020. https://arxiv.org/abs/1910.06378

Paper symbol -> name here: c_i -> own, c -> mean, eta_l -> lr, eta_g -> server_lr, K -> period,
K eta_l -> step_sum, y_i -> belief, x -> start.
Differences from the paper: with option II only the model's change is uploaded, since the server can
compute c_i+ - c_i = -c - (y_i - x) / (K eta_l) from it. The rule uses the server's belief of y_i,
so that c stays the mean of the c_i behind a lossy uplink.

With momentum, K eta_l is the sum of the effective step sizes (`InnerOptimiser.effective`), and
buffers start every round at zero. Then c_i is a mean of gradients, each with its weight in the
client's change. K eta_l itself would make c_i too large by up to 1 / (1 - momentum), and diverge.
Weight decay is part of the gradient. c is a plain mean, so weights by examples are refused.
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


class ClientState(NamedTuple):
    """State of a client.

    own: c_i, [P].
    """

    own: Tensor


class ServerState(NamedTuple):
    """State of the server.

    mean: c, the plain mean of all clients' c_i, [P].
    """

    mean: Tensor


class FullGradientState(NamedTuple):
    """State of a client during a round with option I.

    own: c_i, [P].
    fresh: Full-batch gradient at the server's model, the next c_i, [P].
    """

    own: Tensor
    fresh: Tensor


@dataclass(frozen=True)
class ControlVariates(Correction):
    """Option II: step along g - c_i + c; c_i becomes the mean gradient of the round's steps."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the guarantees under which a change gives the mean gradient."""
        known = {Guarantee.LINEAR_STEPS, Guarantee.FRESH_BUFFERS}
        return super().requires | known | {Guarantee.EQUAL_WEIGHTS}

    def init(self, x: Tensor) -> ClientState:
        return ClientState(torch.zeros_like(x))

    def control(self, x: Tensor) -> ServerState:
        return ServerState(torch.zeros_like(x))

    def correct(
        self, grad: Tensor, x: Tensor, state: ClientState | FullGradientState, view: View
    ) -> Tensor:
        return grad - state.own + view.control.mean

    def end(
        self,
        state: ClientState,
        start: Tensor,
        belief: Tensor,
        step_sum: Tensor,
        control: ServerState,
    ) -> tuple[Tree, Tree]:
        return ClientState(state.own - control.mean + (start - belief) / step_sum), ()

    def combine(
        self, control: ServerState, reports: Tree, received: Tensor, info: Round
    ) -> ServerState:
        changes = -control.mean - received / info.step_sums.unsqueeze(1)
        return ServerState(control.mean + info.fraction * changes.mean(0))


@dataclass(frozen=True)
class FullGradientVariates(ControlVariates):
    """Option I: c_i becomes the client's full-batch gradient at the server's model."""

    reads_all_data: ClassVar[bool] = True

    def begin(
        self, state: ClientState, start: Tensor, control: ServerState, full_gradient: Tensor
    ) -> FullGradientState:
        return FullGradientState(state.own, full_gradient)

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: ServerState
    ) -> tuple[Tree, Tree]:
        return ClientState(state.fresh), state.fresh - state.own

    def combine(
        self, control: ServerState, reports: Tensor, received: Tensor, info: Round
    ) -> ServerState:
        return ServerState(control.mean + info.fraction * reports.mean(0))


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
    """Return SCAFFOLD with `period` local steps per round.

    `option` is the paper's rule for c_i: "I" takes a pass over all of a client's data, "II" takes
    none. `server_lr` scales the mean change; 1 takes the mean.
    """
    if option not in VARIATES:
        raise ValueError(f"option must be 'I' or 'II', got {option!r}; 'II' costs no extra pass")
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=VARIATES[option](),
        period=period_of(period),
        outer=OuterSGD(server_lr),
    )
