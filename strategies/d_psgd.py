"""D-PSGD: after every step each client averages its model with those of its neighbours.

There is no server. A client communicates only with its neighbours in a graph, and information
spreads along the links. A sparser graph needs less communication and reaches consensus more slowly.

    Lian, Zhang, Zhang, Hsieh, Zhang, Liu. Can Decentralized Algorithms Outperform Centralized
    Algorithms? A Case Study for Decentralized Parallel Stochastic Gradient Descent. 2017.
    https://arxiv.org/abs/1705.09056

Paper symbol -> name here: gamma -> lr, W -> graph.
Differences from the paper: its order, X W - lr G with gradients at the models before mixing, is
order="combine_then_adapt". The default is (X - lr G) W as in Cooperative SGD, which becomes
mini-batch SGD on a complete graph; the paper's order does not.
"""

from fedlocal.slots import Rate
from fedlocal.slots.mixing.cooperative import CombineOrder
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.strategy import Strategy
from strategies.cooperative_sgd import cooperative_sgd


def d_psgd(
    lr: float | Rate = 0.1,
    graph: GraphLike = "ring",
    order: CombineOrder = "adapt_then_combine",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return D-PSGD over `graph`.

    `order` says whether models are mixed after the local step (adapt_then_combine) or before it.
    """
    return cooperative_sgd(lr, 1, graph, 0, order, momentum, nesterov, weight_decay)
