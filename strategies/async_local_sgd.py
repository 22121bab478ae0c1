"""Asynchronous local SGD: nobody waits, every client adds its progress when it is done.

The server keeps an aggregate. A client reads it, takes H local steps, adds 1 / K of its progress
to whatever the aggregate has become in the meantime, and reads again. So slow clients hold nobody
up, and what they add was computed at a model of some exchanges ago.

    Stich. Local SGD Converges Fast and Communicates Little. 2019.
    https://arxiv.org/abs/1805.09767 (algorithm 2)

Symbol -> name here: x-bar -> anchor, x_{r^k} -> the model read, H -> period.
Differences: the paper bounds the delay of reads and writes; here they take the time that the clock
gives to the message, and the simulated order of arrivals decides who is stale by how much.
"""

from dataclasses import dataclass

from torch import Tensor

from fedlocal.slots import Guarantee, Mixing, Period, Rate, Round, Timing
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree, weighted_mean


@dataclass(frozen=True)
class OnArrival(Mixing):
    """The anchor moves by S / K of the mean progress of the S that arrive: alone, by 1 / K."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Whoever arrives is welcome, but has read a version of its own."""
        return frozenset({Guarantee.LOSSLESS_DOWNLINK})

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        return info.fraction * weighted_mean(received, info.weights).unsqueeze(0), state


def async_local_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Local SGD without a barrier; a round of the run is K exchanges."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=OnArrival(),
        timing=Timing.ASYNCHRONOUS,
    )
