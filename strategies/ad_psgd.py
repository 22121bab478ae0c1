"""AD-PSGD: a client that is done averages with one neighbour at random, and goes on.

There is no server and no barrier. A client computes at the model that it had when it began; before
its progress is added, it and a neighbour drawn at random put themselves on the mean of the two.
The neighbour goes on computing at what it began with.

    Lian, Zhang, Zhang, Liu. Asynchronous Decentralized Parallel Stochastic Gradient Descent. 2018.
    https://arxiv.org/abs/1710.06952

Symbol -> name here: x_i -> row i of the anchor, W_k -> the pair, gamma -> lr.
Differences: a client may take more than one local step (period), the paper's is 1. The averaging
of a pair is atomic and takes the time of one exchange; so no deadlock can arise, and the graph
need not be bipartite. The neighbour's half of the traffic is that of the client's exchange.
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


class Neighbours(NamedTuple):
    """links: 1 for who may meet whom, 0 for who may not, [K, K]."""

    links: Tensor


@dataclass(frozen=True)
class PairAverage(Mixing):
    """x_i, x_j <- their mean, and then x_i <- x_i + its progress, for a neighbour j of i."""

    graph: Graph
    seed: int = 0

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Each client is sent its own row."""
        return frozenset({Guarantee.LOSSLESS_DOWNLINK})

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def describe(self, num_clients: int) -> str:
        return describe(self.graph, num_clients)

    def init(self, x: Tensor, num_clients: int) -> Neighbours:
        check_graph(self.graph, num_clients, symmetric=True)
        links = torch.from_numpy(self.graph.links(0, num_clients))
        return Neighbours(links.to(x.device, torch.int64))

    def mix(
        self, state: Neighbours, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Neighbours]:
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
    """Asynchronous gossip in pairs; `seed` draws the neighbours."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=PairAverage(as_graph(graph), seed),
        timing=Timing.ASYNCHRONOUS,
    )
