"""D-PSGD: after every step each client averages its model with its neighbours'.

No server takes part: a client only ever talks to its neighbours in a graph, and news spread along
the links. The sparser the graph, the less is sent and the longer models stay apart.

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
    """One local step per round, then a weighted mean over the neighbours in `graph`."""
    return cooperative_sgd(lr, 1, graph, 0, order, momentum, nesterov, weight_decay)
