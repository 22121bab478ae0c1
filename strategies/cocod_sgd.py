"""CoCoD-SGD: the models at a round's start are averaged while the clients compute.

During a round the models that the clients started from are averaged. At the end each client
continues from that mean plus its own progress. Communication overlaps with computation, and the
clients' models differ by at most the progress of one round.

    Shen, Xu, Liu, Liang, Cheng. Faster Distributed Deep Net Training: Computation and Communication
    Decoupled Stochastic Gradient Descent. 2019. https://arxiv.org/abs/1906.12043

Paper symbol -> name here: tau (k) -> period, x_i -> start, mean of the x_i -> anchor, a client's
change over the round -> progress.

Differences from the paper: the first message leaves before the first local step and holds x_0. The
loss of a lossy uplink stays in the client's progress, so the mean model still moves by the mean
progress. Error feedback would add it a second time and is refused.
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


class OwnProgress(NamedTuple):
    """A client's memory between rounds.

    progress: Model at the end of the last round minus the transmitted model at its start, [P].
    """

    progress: Tensor


@dataclass(frozen=True)
class MeanOfStarts(OwnModels):
    """Delayed averaging: x_i <- mean_j (x_j at the last round's start) + progress of client i."""

    def memory(self, x: Tensor) -> OwnProgress:
        return OwnProgress(zeros_like(x))

    def begin(self, memory: OwnProgress, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return incoming + memory.progress, incoming

    def transmitted_model(self, start: Tensor, x: Tensor) -> Tensor:
        return start

    def end(self, memory: OwnProgress, x: Tensor, belief: Tensor) -> OwnProgress:
        return OwnProgress(x - belief)

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
    """Return CoCoD-SGD with `period` local steps per round."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=gossip_link(uplink),
        mixing=MeanOfStarts(),
        timing=Timing.OVERLAPPED,
    )
