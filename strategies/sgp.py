"""SGP: stochastic gradient push, averaging over graphs whose links go one way.

Where a client may send to others than it hears from, plain averaging drifts towards those who are
heard most. So a weight is passed on along with every model in the same shares; the model divided by
its weight has no such bias.

    Assran, Loizou, Ballas, Rabbat. Stochastic Gradient Push for Distributed Deep Learning. 2019.
    https://arxiv.org/abs/1811.10792

Paper symbol -> name here: x_i -> numerators, w_i -> weights, z_i = x_i / w_i -> anchor, P -> graph,
gamma -> lr.
Differences from the paper: the numerator moves by as much as z does in the local steps. For period
1 that is the paper; with more, the steps are taken on z with step size lr, whatever the weight. The
weights are not sent: both ends know them from the graph.
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


class Pushed(NamedTuple):
    """numerators: x_i, [K, P]. weights: w_i, [K]; their sum stays K."""

    numerators: Tensor
    weights: Tensor


@dataclass(frozen=True)
class PushSum(OwnModels):
    """x <- P (x + progress) and w <- P w, one row a client; clients go on from x / w."""

    graph: Graph

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Models travel whole: neighbours do not know what a change is a change of."""
        return super().requires | {Guarantee.LOSSLESS_UPLINK}

    def describe(self, num_clients: int) -> str:
        return describe(self.graph, num_clients)

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_]:
        return self.graph.links(round_index, num_clients)

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> Pushed:
        check_graph(self.graph, num_clients, rows=False, nonnegative=True)
        if not (self.graph.cycle(num_clients).diagonal(axis1=1, axis2=2) > 0).all():
            raise ValueError(
                f"graph={self.graph}: a node that keeps nothing of its own may be left without"
                " weight; make the diagonal positive"
            )
        return Pushed(x.repeat(num_clients, 1), x.new_ones(num_clients))

    def mix(
        self, state: Pushed, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Pushed]:
        shares = self.graph.matrix(info.round_index, len(anchor))
        matrix = torch.tensor(shares, dtype=anchor.dtype, device=anchor.device)
        numerators = matrix @ state.numerators.index_add(0, clients, received)
        weights = matrix @ state.weights
        return numerators / weights.unsqueeze(1) - anchor, Pushed(numerators, weights)


def sgp(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    graph: GraphLike = "one_peer_exponential",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Stochastic gradient push; `graph` may be directed, its matrix's columns must sum to 1."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=PushSum(as_graph(graph)),
    )
