"""CHOCO-SGD: decentralised SGD in which neighbours exchange compressed differences.

Every client holds a belief of each neighbour's model. It sends the compressed difference between
its own model and the neighbours' belief of it, and mixes its model with the beliefs. The beliefs
converge to the models, so any compressor works if the gossip step is small enough.

    Koloskova, Stich, Jaggi. Decentralized Stochastic Optimization and Gossip Algorithms with
    Compressed Communication. ICML 2019. https://arxiv.org/abs/1902.00340
    Koloskova, Lin, Stich, Jaggi. Decentralized Deep Learning with Arbitrary Communication
    Compression. ICLR 2020. https://arxiv.org/abs/1907.09356

Paper symbol -> name here: gamma -> gossip_step, Q -> compressor, w_ij -> graph, x-hat -> belief,
eta -> lr. `order` "mix_first" is algorithm 1 of the second paper, "compress_first" that of the
first.
Differences from the papers: a round may have more than one local step (`period`; theirs is 1).
Unbiased compressors are scaled by 1 / (1 + omega), as in the authors' code.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import ScaledSign
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import as_graph
from fedlocal.slots.mixing.gossip import CompressedGossip, Order, gossip_link, gossip_step_of
from fedlocal.slots.mixing.gossip_step import ChocoStep, GossipStep
from fedlocal.slots.mixing.graph import GraphLike
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy

SIGN = ScaledSign()


def choco_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    graph: GraphLike = "ring",
    gossip_step: GossipStep = 0.5,
    compressor: Compressor = SIGN,
    order: Order = "mix_first",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return CHOCO-SGD with `period` local steps between two messages.

    `gossip_step` is the share in (0, 1] by which a model moves to the mean of its neighbours'
    beliefs, or "theory" for the bound of the first paper.
    """
    step = gossip_step_of(gossip_step, ChocoStep, compressor)
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=gossip_link(compressor),
        mixing=CompressedGossip(as_graph(graph), step, order),
    )
