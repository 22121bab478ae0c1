"""CoCoD-SGD: average where a round began while it runs, then add everybody's own progress.

The models that the clients start a round from are averaged during the round. At its end each
client goes on from that mean plus what its own steps have changed, so it has waited for nobody,
and the clients differ by no more than the progress of one round.

    Shen, Xu, Liu, Liang, Cheng. Faster Distributed Deep Net Training: Computation and Communication
    Decoupled Stochastic Gradient Descent. 2019. https://arxiv.org/abs/1906.12043

Symbol -> name here: tau (k) -> period, x_i -> start, mean of the x_i -> anchor, own change over the
round -> progress.

Differences: the first message goes out before the first local step and tells of x_0. What a lossy
uplink leaves out stays in the client's progress, so the mean model still moves by the mean
progress; error feedback would add it a second time and is refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, zeros_like

from fedlocal.compress.dense import Identity
from fedlocal.inner import sgd
from fedlocal.mixing import WeightedMean
from fedlocal.mixing.gossip import gossip_link
from fedlocal.period import period_of
from fedlocal.pieces import Compressor, Guarantee, Period, Rate, Timing
from fedlocal.strategy import Strategy


class Progress(NamedTuple):
    """progress: Own model at the end of the last round minus what was told of its start, [P]."""

    progress: Tensor


@dataclass(frozen=True)
class MeanOfStarts(WeightedMean):
    """x_i <- mean_j (x_j at the start of the last round) + own progress of that round."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The mean of the progress is right when everybody's is in it, and arrives as it is."""
        both_ends = {Guarantee.FULL_PARTICIPATION, Guarantee.LOSSLESS_DOWNLINK}
        return super().requires | both_ends

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The anchor is a mean of one round ago, and clients start from models of their own."""
        return frozenset({Guarantee.PLAIN_MEAN, Guarantee.AVERAGING_SERVER})

    def memory(self, x: Tensor) -> Progress:
        return Progress(zeros_like(x))

    def begin(self, memory: Progress, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return incoming + memory.progress, incoming

    def told(self, start: Tensor, x: Tensor) -> Tensor:
        return start

    def end(self, memory: Progress, x: Tensor, belief: Tensor) -> Progress:
        return Progress(x - belief)


def cocod_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    uplink: Compressor = Identity(),
) -> Strategy:
    """CoCoD-SGD with `period` local steps per round."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=gossip_link(uplink),
        mixing=MeanOfStarts(),
        timing=Timing.OVERLAPPED,
    )
