"""Asynchronous local SGD: clients synchronise with the server without waiting for each other.

The server keeps an aggregate model. A client reads it, takes H local steps, adds 1 / K of its
progress to the current aggregate, and reads again. Slow clients delay nobody; their progress was
computed at a stale model, and counts as much as any other: there is no weight by staleness.

    Stich. Local SGD Converges Fast and Communicates Little. 2019.
    https://arxiv.org/abs/1805.09767 (algorithm 2)

Paper symbol -> name here: x-bar -> anchor, x_{r^k} -> the model read, H -> period.
Differences from the paper: it bounds the delay of reads and writes. Here they take the time that
the simulated clock gives a message, and the order of arrivals determines the staleness.
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
    """Averaging on arrival: S clients move the anchor by S / K of their mean progress."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the lossless downlink: every client reads its own version of the anchor."""
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
    """Return asynchronous local SGD; one round of the run is K exchanges."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=OnArrival(),
        timing=Timing.ASYNCHRONOUS,
    )
