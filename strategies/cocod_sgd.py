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

from fedlocal.slots import Compressor, Period, Rate, Round, Timing
from fedlocal.slots.compress.base import Identity
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import OwnModels
from fedlocal.slots.mixing.gossip import gossip_link
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, weighted_mean


class Progress(NamedTuple):
    """progress: Own model at the end of the last round minus what was told of its start, [P]."""

    progress: Tensor


@dataclass(frozen=True)
class MeanOfStarts(OwnModels):
    """x_i <- mean_j (x_j at the start of the last round) + own progress of that round."""

    def memory(self, x: Tensor) -> Progress:
        return Progress(zeros_like(x))

    def begin(self, memory: Progress, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return incoming + memory.progress, incoming

    def told(self, start: Tensor, x: Tensor) -> Tensor:
        return start

    def end(self, memory: Progress, x: Tensor, belief: Tensor) -> Progress:
        return Progress(x - belief)

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        return weighted_mean(received, info.weights).unsqueeze(0), state


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
