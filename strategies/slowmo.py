"""SlowMo: a slow momentum step on top of local SGD.

The change of the mean model over a round, divided by the round's step size, is treated as one
gradient of an outer momentum SGD, which recovers accuracy that long periods lose.

    Wang, Tantia, Ballas, Rabbat. SlowMo. 2020. https://arxiv.org/abs/1910.00643

Paper symbol -> name here: alpha -> slow_lr, beta -> slow_momentum, u_t -> slow, gamma_t -> lr.
Base buffers are reset at every round, as the paper does with a Nesterov base.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.inner import Buffers, check_momentum, sgd
from fedlocal.period import period_of
from fedlocal.pieces import Guarantee, OuterOptimiser, Period, Rate, Round
from fedlocal.strategy import Strategy


class SlowState(NamedTuple):
    """slow: u_t, in gradient units so that a change of lr does not rescale it, [A, P]."""

    slow: Tensor


@dataclass(frozen=True)
class SlowMomentum(OuterOptimiser):
    """u <- beta u + (before - after) / gamma, the anchor moves by -alpha gamma u."""

    slow_lr: float = 1.0
    slow_momentum: float = 0.5

    def __post_init__(self) -> None:
        """Refuse values that diverge."""
        check_momentum("slow_momentum", self.slow_momentum)
        if not self.slow_lr > 0:
            raise ValueError(f"slow_lr must be positive, got {self.slow_lr}; the paper uses 1")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The anchor goes beyond the mean."""
        return frozenset({Guarantee.PLAIN_MEAN})

    def init(self, anchor: Tensor) -> SlowState:
        return SlowState(torch.zeros_like(anchor))

    def step(self, pseudo_grad: Tensor, state: SlowState, info: Round) -> tuple[Tensor, SlowState]:
        slow = self.slow_momentum * state.slow + pseudo_grad / info.lr
        return -self.slow_lr * info.lr * slow, SlowState(slow)


def slowmo(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    slow_lr: float = 1.0,
    slow_momentum: float = 0.5,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "reset",
) -> Strategy:
    """SlowMo on local SGD with `period` local steps per round."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=period_of(period),
        outer=SlowMomentum(slow_lr, slow_momentum),
    )
