"""AD-PSGD: asynchronous decentralised SGD, in which a client averages with one random neighbour.

There is no server and no barrier. A client computes its gradients at the model it had when it
started. When it is done, it and a random neighbour replace their models by the mean of the two,
and the client then adds its progress. The neighbour keeps computing at its old model.

    Lian, Zhang, Zhang, Liu. Asynchronous Decentralized Parallel Stochastic Gradient Descent. 2018.
    https://arxiv.org/abs/1710.06952

Paper symbol -> name here: x_i -> row i of the anchor, W_k -> the pair, gamma -> lr.
Differences from the paper: a client may take more than one local step (`period`); the paper takes
one. Averaging a pair is atomic and takes the time of one exchange, so there are no deadlocks and
the graph need not be bipartite. The traffic of the neighbour is counted in the client's exchange.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Guarantee, Mixing, Period, Rate, Round, Timing
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import Graph, as_graph, check_graph, describe
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.rng import Purpose, generator


class PairState(NamedTuple):
    """State of `PairAverage`.

    links: 1 where clients i and j are neighbours, else 0, [K, K].
    """

    links: Tensor


@dataclass(frozen=True)
class PairAverage(Mixing):
    """Pairwise averaging: x_i, x_j <- (x_i + x_j) / 2, then x_i <- x_i + progress of client i."""

    graph: Graph
    seed: int = 0

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the lossless downlink: each client receives its own row of the anchor."""
        return frozenset({Guarantee.LOSSLESS_DOWNLINK})

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def describe(self, num_clients: int) -> str:
        return describe(self.graph, num_clients)

    def init(self, x: Tensor, num_clients: int) -> PairState:
        check_graph(self.graph, num_clients, symmetric=True)
        links = torch.from_numpy(self.graph.links(0, num_clients))
        return PairState(links.to(x.device, torch.int64))

    def mix(
        self, state: PairState, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, PairState]:
        after = anchor.clone()
        for i, progress in zip(clients.tolist(), received, strict=True):
            draw = generator(self.seed, Purpose.NEIGHBOUR, i, info.round_index).random()
            others = state.links[i].nonzero().reshape(-1)
            j = int(others[int(draw * len(others))])
            mean = (after[i] + after[j]) / 2
            after[j] = mean
            after[i] = mean + progress
        return after - anchor, state


def ad_psgd(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    graph: GraphLike = "ring",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> Strategy:
    """Return AD-PSGD with `period` local steps per exchange; `seed` draws the neighbours."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=PairAverage(as_graph(graph), seed),
        timing=Timing.ASYNCHRONOUS,
    )
