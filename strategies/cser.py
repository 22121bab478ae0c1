"""CSER: compressed SGD in which a client applies its own compression error at once.

With error feedback the error of a message waits for the next one. Here a client continues from the
anchor plus its own error, so its model has taken the whole step. Clients drift apart, and every
`reset_period` exchanges a second message synchronises the errors.

    Xie, Zheng, Koyejo, Gupta, Li, Lin. CSER: Communication-efficient SGD with Error Reset. 2020.
    https://arxiv.org/abs/2007.13221

Paper symbol -> name here: C_1 -> reset, C_2 -> uplink, H -> reset_period, e_i -> error, x_i -> the
anchor + e_i, eta -> lr. The evaluated model is the mean of the x_i.

Differences from the paper: with period > 1 the change of the local steps replaces the gradient
step. Momentum is on the clients, by default Nesterov's as in the paper's M-CSER. Unbiased
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
    """A client's memory between rounds.

    error: e_i, the difference between the client's model and the anchor, [P].
    """

    error: Tensor


@dataclass(frozen=True)
class Bifurcated(WeightedMean):
    """The mean of messages, with clients that start from the anchor plus their own error."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return full participation: otherwise the mean of all models does not follow SGD."""
        return super().requires | {Guarantee.FULL_PARTICIPATION}

    def memory(self, x: Tensor) -> LocalError:
        return LocalError(torch.zeros_like(x))

    def begin(self, memory: LocalError, incoming: Tensor) -> tuple[Tensor, Tensor]:
        start = incoming + memory.error
        return start, start

    def end(self, memory: LocalError, x: Tensor, belief: Tensor) -> LocalError:
        # belief = start + the decoded message, so x - belief is the error of this exchange.
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
    """Return CSER with `uplink` (C_2) at every exchange and `reset` (C_1) every `reset_period`."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov and momentum != 0, weight_decay),
        period=period_of(period),
        uplink=ErrorReset(Contractive(uplink), Contractive(reset), reset_period),
        mixing=Bifurcated(),
    )
