"""CSER: what a message leaves out is applied at home at once, and now and then made common.

With error feedback a client waits for its own residual; here it already stands where its whole
step took it. So clients drift apart, and every few exchanges a second message brings them together.

    Xie, Zheng, Koyejo, Gupta, Li, Lin. CSER: Communication-efficient SGD with Error Reset. 2020.
    https://arxiv.org/abs/2007.13221

Paper symbol -> name here: C_1 -> reset, C_2 -> uplink, H -> reset_period, e_i -> error, x_i -> the
anchor + e_i, eta -> lr. The mean of the x_i is what is evaluated.

Differences from the paper: with period > 1 the change of the local steps takes the place of a
gradient step. Momentum is on the clients, by default Nesterov's as in the paper's M-CSER. Unbiased
compressors are scaled to contractions by 1 / (1 + omega).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Compressor, Guarantee, Period, Rate
from fedlocal.slots.compress import Contractive, ErrorReset, RandomK, TopK
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import WeightedMean
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


class LocalError(NamedTuple):
    """error: e_i, how far this client stands from the anchor, [P]."""

    error: Tensor


@dataclass(frozen=True)
class Bifurcated(WeightedMean):
    """Every client starts from the anchor + its own error; the anchor moves by what was sent."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The mean of all models follows SGD only if all of them send."""
        return super().requires | {Guarantee.FULL_PARTICIPATION}

    def memory(self, x: Tensor) -> LocalError:
        return LocalError(torch.zeros_like(x))

    def begin(self, memory: LocalError, incoming: Tensor) -> tuple[Tensor, Tensor]:
        start = incoming + memory.error
        return start, start

    def end(self, memory: LocalError, x: Tensor, belief: Tensor) -> LocalError:
        # belief = start + what was sent, so x - belief is what this exchange left out.
        return LocalError(memory.error + (x - belief))


def cser(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    reset_period: int = 4,
    uplink: Compressor = RandomK(0.01),
    reset: Compressor = TopK(0.1),
    momentum: float = 0.0,
    nesterov: bool = True,
    weight_decay: float = 0.0,
) -> Strategy:
    """CSER with `uplink` (C_2) at every exchange and `reset` (C_1) at every `reset_period`-th."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov and momentum != 0, weight_decay),
        period=period_of(period),
        uplink=ErrorReset(Contractive(uplink), Contractive(reset), reset_period),
        mixing=Bifurcated(),
    )
