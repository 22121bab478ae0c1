"""SQuARM-SGD: SPARQ-SGD with Nesterov momentum on every client.

As in SPARQ-SGD clients take local steps, and then send compressed differences to their neighbours
if they have moved far enough. Each client keeps its own momentum, which is not mixed.

    Singh, Data, George, Diggavi. SQuARM-SGD: Communication-Efficient Momentum SGD for
    Decentralized Optimization. 2021. https://arxiv.org/abs/2005.07041

Paper symbol -> name here: beta -> momentum, v_i -> velocity, the others as in `sparq_sgd`.
Differences from the paper: those of `sparq_sgd`.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.mixing.gossip_step import GossipStep
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.strategy import Strategy
from strategies.sparq_sgd import SIGN_TOP_K, sparq_sgd


def squarm_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    graph: GraphLike = "ring",
    gossip_step: GossipStep = 0.5,
    compressor: Compressor = SIGN_TOP_K,
    momentum: float = 0.9,
    threshold: float = 0.0,
    threshold_exponent: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = True,
) -> Strategy:
    """Return SQuARM-SGD with `period` local steps between two synchronisations."""
    trigger = threshold, threshold_exponent
    base = weight_decay, momentum, nesterov and momentum != 0
    return sparq_sgd(lr, period, graph, gossip_step, compressor, *trigger, *base)
