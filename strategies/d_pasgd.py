"""Decentralised periodic averaging: local steps, then one mean over the neighbours in a graph.

A client communicates only with its few neighbours, and only once per round.

    Wang, Joshi. Cooperative SGD: A Unified Framework for the Design and Analysis of
    Local-Update SGD Algorithms. 2018. https://arxiv.org/abs/1808.07576

Paper symbol -> name here: tau -> period, W -> graph.
Differences from the paper: none in the rule. Graphs may be directed or change from round to round,
as long as rows and columns of every W sum to 1.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.mixing.cooperative import CombineOrder
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.strategy import Strategy
from strategies.cooperative_sgd import cooperative_sgd


def d_pasgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    graph: GraphLike = "ring",
    order: CombineOrder = "adapt_then_combine",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return decentralised averaging over `graph` after every `period` local steps."""
    return cooperative_sgd(lr, period, graph, 0, order, momentum, nesterov, weight_decay)
