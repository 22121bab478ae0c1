"""VRL-SGD: local SGD with a correction of each client's gradient drift.

Each client estimates the difference Delta_i between its own gradient and the mean gradient, and
subtracts it from every local gradient. Clients with different data then follow the same direction
between two synchronisations.

    Liang, Shen, Liu, Pan, Chen, Cheng. Variance Reduced Local SGD with Lower Communication
    Complexity. 2019. https://arxiv.org/abs/1912.12844

Paper symbol -> name here: Delta_i -> drift, x_i -> local, x_hat -> start, k * gamma -> step_sum.
Every vector is flat, [P].

The update of Delta_i at the end of a round needs the new mean, so it is applied at the start of the
next round. `warmup` (VRL-SGD-W) makes the first round one step long, which sets the drift to the
difference of the first gradients.

With momentum, k gamma is the sum of the effective step sizes (`InnerOptimiser.effective`): the
distance that a constant gradient of 1 moves a client from empty buffers. k gamma itself would make
drifts too large by up to 1 / (1 - momentum), and two quadratics diverge. Buffers must be equal at a
round's start, so that they cancel in the difference to the mean. "reset" starts them at zero and
"average" sends them along, as the authors' code does. "keep" is refused, since drifts and buffers
would then amplify each other. Weight decay is part of the gradient, so the fixed point is the
optimum of the regularised mean loss.
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
    """State of a client between rounds.

    drift: Delta_i, [P]. Its mean over all clients, weighted as in the mixing, is zero.
    local: The client's model as the server decoded it at the end of its last round, [P].
    step_sum: Sum of that round's effective step sizes, []; zero before the first round.
    """

    drift: Tensor
    local: Tensor
    step_sum: Tensor


@dataclass(frozen=True)
class DriftCorrection(Correction):
    """Subtract Delta_i from every local gradient."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the guarantees under which the mean of Delta_i stays zero."""
        # A lossy uplink is harmless: drifts are computed from the decoded models. So are weights
        # and equal buffers: they occur on both sides of the difference to the mean.
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
        # The belief and not x: behind a lossy uplink the decoded model enters the mean.
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
    """Return VRL-SGD with `period` local steps per round; `warmup` makes the first round one step.

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
