"""BMUF: blockwise model-update filtering, momentum on the change of the mean model.

Clients train locally for one block of data (a round), and their models are averaged. The server
treats the change of the mean model as an update, and smooths it with momentum over blocks.
Classical block momentum broadcasts the block model; the Nesterov form broadcasts it one momentum
step ahead.

    Chen, Huo. Scalable Training of Deep Learning Machines by Incremental Block Training with
    Intra-Block Parallel Optimization and Blockwise Model-Update Filtering. ICASSP 2016.
    https://doi.org/10.1109/ICASSP.2016.7472805

Paper symbol -> name here: zeta -> block_lr, eta -> block_momentum, Delta_t -> update, W_g -> the
anchor. The authors suggest zeta = 1 and eta = 1 - 1 / K.

Unlike SlowMo, the update is in model units: when lr drops, the momentum keeps the scale of the old
lr. The evaluated model is the broadcast one, W_g. `nesterov` is that of the block momentum; the
clients' momentum is `local_momentum`, and starts every round at zero.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import OuterOptimiser, Period, Rate, Round
from fedlocal.slots.inner.sgd import Buffers, check_momentum, check_nesterov, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class BlockState(NamedTuple):
    """State of `BlockMomentum`.

    update: Delta_t, [A, P].
    """

    update: Tensor


@dataclass(frozen=True)
class BlockMomentum(OuterOptimiser):
    """Block momentum: Delta <- eta Delta + zeta (after - before), the anchor moves by Delta."""

    block_lr: float = 1.0
    block_momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 <= block_momentum < 1 and block_lr > 0."""
        check_momentum("block_momentum", self.block_momentum)
        check_nesterov("block_momentum", self.block_momentum, self.nesterov)
        check_number("block_lr", self.block_lr, "; 1 is usual", above=0)

    def init(self, anchor: Tensor) -> BlockState:
        return BlockState(torch.zeros_like(anchor))

    def step(
        self, pseudo_grad: Tensor, state: BlockState, info: Round
    ) -> tuple[Tensor, BlockState]:
        update = self.block_momentum * state.update - self.block_lr * pseudo_grad
        # W_g(t) = W(t) + eta Delta_t, so its move is Delta_t + eta (Delta_t - Delta_{t-1}).
        ahead = update + self.block_momentum * (update - state.update)
        return ahead if self.nesterov else update, BlockState(update)


def bmuf(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    block_lr: float = 1.0,
    block_momentum: float = 0.9,
    nesterov: bool = False,
    local_momentum: float = 0.0,
    local_nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "reset",
    weights: Weights = "uniform",
) -> Strategy:
    """Return BMUF on local SGD with `period` local steps per block.

    `block_lr` scales the mean model's change (1 keeps it); `block_momentum` is in [0, 1).
    """
    return Strategy(
        inner=sgd(lr, buffers, local_momentum, local_nesterov, weight_decay),
        period=period_of(period),
        mixing=WeightedMean(weights),
        outer=BlockMomentum(block_lr, block_momentum, nesterov),
    )
