"""Cooperative SGD: local steps, then every client's model becomes a weighted sum of models.

The weights are a matrix W. With all of them equal it is local SGD, with those of a sparse graph
decentralised averaging, and with further nodes that hold no data elastic averaging: one rule whose
parts (period, W, auxiliary variables) can be studied one by one.

    Wang, Joshi. Cooperative SGD: A Unified Framework for the Design and Analysis of
    Local-Update SGD Algorithms. 2018. https://arxiv.org/abs/1808.07576

Paper symbol -> name here: tau -> period, W -> graph, v -> auxiliary, m -> K.
Differences from the paper: W need not be symmetric. Without auxiliary variables it must be doubly
stochastic; with them it is enough that all clients have the same say in the model that W tends to.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import Cooperative, as_graph
from fedlocal.slots.mixing.cooperative import CombineOrder
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def cooperative_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    graph: GraphLike = "complete",
    auxiliary: int = 0,
    order: CombineOrder = "adapt_then_combine",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """(X - lr G) W^T every `period` local steps; `graph` as `fedlocal.slots.mixing.as_graph`."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=Cooperative(as_graph(graph), auxiliary, order),
    )
