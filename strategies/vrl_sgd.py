"""VRL-SGD: local SGD with a per-client gradient drift correction.

Client i subtracts a running estimate of "my gradient minus the average one" from every local
gradient, so that clients holding different data walk in the same direction between
synchronisations.

    Liang, Shen, Liu, Pan, Chen, Cheng. Variance Reduced Local SGD with Lower Communication
    Complexity. 2019. https://arxiv.org/abs/1912.12844

Paper symbol -> name here: Delta_i -> drift, x_i -> local, x_hat -> start, k * gamma -> step_sum.
Every vector is flat, [P].

The update of Delta_i at the end of a round needs the new mean, so it is made at the beginning of
the next. `warmup` (VRL-SGD-W) makes the first round one step long: that step sets the drift to the
difference of the first gradients.

With momentum, k gamma is the sum of the effective step sizes (`InnerOptimiser.effective`): a
constant gradient moves a client by that much from empty buffers. k gamma itself would make drifts
too large by up to 1 / (1 - momentum), and two quadratics diverge. Buffers must be equal when a
round begins, so that what they carry leaves the difference to the mean: "reset" begins at zero,
"average" sends them along, as the authors' code does; kept ones are refused, since drifts and
buffers then feed each other. Weight decay is part of the gradient, so drifts hold its differences
and the fixed point is the optimum of the regularised mean loss.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Correction, Guarantee, Rate, View
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import SwitchPeriod
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree


class DriftState(NamedTuple):
    """What one client keeps between rounds.

    drift: Delta_i, [P]. Its mean over all clients, weighted as in the mixing, is zero.
    local: the model that the server believes this client ended its last round on, [P].
    step_sum: sum of that round's effective step sizes, []. Zero before the first round.
    """

    drift: Tensor
    local: Tensor
    step_sum: Tensor


@dataclass(frozen=True)
class DriftCorrection(Correction):
    """Subtract Delta_i from every local gradient."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """What together keeps the mean of Delta_i at zero."""
        # A lossy uplink does no harm: drifts are computed from what the server read. Nor do
        # weights or equal buffers: both sides of a difference to the mean have them.
        harmless = {Guarantee.LOSSLESS_UPLINK, Guarantee.EQUAL_WEIGHTS, Guarantee.FRESH_BUFFERS}
        return frozenset(Guarantee) - harmless

    def init(self, x: Tensor) -> DriftState:
        return DriftState(torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(()))

    def begin(
        self, state: DriftState, start: Tensor, control: Tree, full_gradient: Tree
    ) -> DriftState:
        # Masked, not branched: step_sum is one number per client under vmap.
        ready = state.step_sum > 0
        scale = torch.where(ready, 1.0 / torch.where(ready, state.step_sum, 1.0), 0.0)
        return state._replace(drift=state.drift + scale * (start - state.local))

    def correct(self, grad: Tensor, x: Tensor, state: DriftState, view: View) -> Tensor:
        return grad - state.drift

    def end(
        self, state: DriftState, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[DriftState, Tree]:
        # The belief: what enters the mean is not the exact model behind a lossy uplink.
        return DriftState(state.drift, belief, step_sum), ()


def vrl_sgd(
    lr: float | Rate = 0.1,
    period: int = 20,
    warmup: bool = False,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "reset",
    weights: Weights = "uniform",
) -> Strategy:
    """VRL-SGD with step size `lr` and `period` local steps per round.

    >>> strategy = vrl_sgd(lr=0.05, period=10, warmup=True)
    >>> strategy.correction, strategy.period
    (DriftCorrection(), SwitchPeriod(before=1, after=10, at=1))
    """
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        correction=DriftCorrection(),
        period=SwitchPeriod(before=1, after=period, at=int(warmup)),
        mixing=WeightedMean(weights),
    )
