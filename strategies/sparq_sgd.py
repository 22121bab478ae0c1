"""SPARQ-SGD: decentralised SGD with local steps and event-triggered, compressed messages.

Clients take local steps between two synchronisations. Then only those whose model has moved far
enough from their neighbours' belief of it send a compressed difference. The others send one flag.

    Singh, Data, George, Diggavi. SPARQ-SGD: Event-Triggered and Compressed Communication in
    Decentralized Stochastic Optimization. 2019. https://arxiv.org/abs/1910.14280

Paper symbol -> name here: gamma -> gossip_step, C -> compressor, H -> period, w_ij -> graph, x-hat
-> belief, c_t -> threshold t^threshold_exponent (t counts local steps), eta_t -> lr.
Differences from the paper: the trigger's eta_t is the mean step size of the round's local steps.
Unbiased compressors are scaled by 1 / (1 + omega). With momentum it is SQuARM-SGD, see
`squarm_sgd`.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import QuantisedTopK, ScaledSign, TopK, Triggered
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import as_graph
from fedlocal.slots.mixing.gossip import CompressedGossip, gossip_link, gossip_step_of
from fedlocal.slots.mixing.gossip_step import GossipStep, SparqStep
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy

SIGN_TOP_K = QuantisedTopK(TopK(0.1), ScaledSign())


def sparq_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    graph: GraphLike = "ring",
    gossip_step: GossipStep = 0.5,
    compressor: Compressor = SIGN_TOP_K,
    threshold: float = 100.0,
    threshold_exponent: float = 0.0,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Strategy:
    """Return SPARQ-SGD with `period` local steps between two synchronisations.

    A client sends if its squared distance from the belief exceeds
    threshold t^threshold_exponent lr^2. `gossip_step` is in (0, 1], or "theory" for the paper's.
    """
    step = gossip_step_of(gossip_step, SparqStep, compressor)
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=Triggered(gossip_link(compressor), threshold, threshold_exponent),
        mixing=CompressedGossip(as_graph(graph), step),
    )
