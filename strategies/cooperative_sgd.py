"""Cooperative SGD: local steps, then every client's model becomes a weighted sum of models.

The weights form a matrix W. With equal weights this is local SGD, with the weights of a sparse
graph it is decentralised averaging, and with auxiliary variables (nodes without data) it is elastic
averaging. The framework separates the effects of the period, of W and of the auxiliary variables.

    Wang, Joshi. Cooperative SGD: A Unified Framework for the Design and Analysis of
    Local-Update SGD Algorithms. 2018. https://arxiv.org/abs/1808.07576

Paper symbol -> name here: tau -> period, W -> graph, v -> auxiliary, m -> K.
Differences from the paper: W need not be symmetric. Without auxiliary variables it must be doubly
stochastic. With them, all clients must have equal weight in the consensus model of W.
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
    """Return Cooperative SGD, X <- (X - lr G) W^T, with `period` local steps per round.

    `auxiliary` is the number of nodes without data. `order` says whether models are mixed after the
    local steps (adapt_then_combine) or before them (combine_then_adapt).
    """
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=Cooperative(as_graph(graph), auxiliary, order),
    )
