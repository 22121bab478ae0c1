"""SGP: stochastic gradient push, decentralised SGD over directed graphs.

On a directed graph plain averaging is biased towards the clients with the most outgoing links. In
push-sum every client also passes on a weight, in the same shares as its model. The model divided by
its weight is unbiased.

    Assran, Loizou, Ballas, Rabbat. Stochastic Gradient Push for Distributed Deep Learning. 2019.
    https://arxiv.org/abs/1811.10792

Paper symbol -> name here: x_i -> numerators, w_i -> weights, z_i = x_i / w_i -> anchor, P -> graph,
gamma -> lr.
Differences from the paper: the numerator moves by the same vector as z does in the local steps. For
period 1 that is the paper's rule; for longer periods the steps are taken on z with step size lr,
whatever the weight. The weights are not sent: both ends know them from the graph.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots import Guarantee, Period, Rate, Round
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import Graph, OwnModels, as_graph, check_graph, describe
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


class PushSumState(NamedTuple):
    """State of `PushSum`.

    numerators: x_i, [K, P].
    weights: w_i, [K]; their sum is always K.
    """

    numerators: Tensor
    weights: Tensor


@dataclass(frozen=True)
class PushSum(OwnModels):
    """Push-sum: x <- P (x + progress), w <- P w, one row per client; clients start from x / w."""

    graph: Graph

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the lossless uplink as well: neighbours do not hold the previous model."""
        return super().requires | {Guarantee.LOSSLESS_UPLINK}

    def describe(self, num_clients: int) -> str:
        return describe(self.graph, num_clients)

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_]:
        return self.graph.links(round_index, num_clients)

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> PushSumState:
        check_graph(self.graph, num_clients, rows=False, nonnegative=True)
        if not (self.graph.cycle(num_clients).diagonal(axis1=1, axis2=2) > 0).all():
            raise ValueError(
                f"graph={self.graph}: a node that keeps no share of its own may lose all its"
                " weight; make the diagonal positive"
            )
        return PushSumState(x.repeat(num_clients, 1), x.new_ones(num_clients))

    def mix(
        self, state: PushSumState, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, PushSumState]:
        shares = self.graph.matrix(info.round_index, len(anchor))
        matrix = torch.tensor(shares, dtype=anchor.dtype, device=anchor.device)
        numerators = matrix @ state.numerators.index_add(0, clients, received)
        weights = matrix @ state.weights
        return numerators / weights.unsqueeze(1) - anchor, PushSumState(numerators, weights)


def sgp(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    graph: GraphLike = "one_peer_exponential",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return SGP; `graph` may be directed, and the columns of its matrix must sum to 1."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=PushSum(as_graph(graph)),
    )
