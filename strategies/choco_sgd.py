"""CHOCO-SGD: gossip in which neighbours exchange compressed differences.

Every client sends its neighbours only how its model differs from what they already believe it to
be, compressed. The beliefs catch up with the models, so that any compressor will do if mixing is
careful enough.

    Koloskova, Stich, Jaggi. Decentralized Stochastic Optimization and Gossip Algorithms with
    Compressed Communication. ICML 2019. https://arxiv.org/abs/1902.00340
    Koloskova, Lin, Stich, Jaggi. Decentralized Deep Learning with Arbitrary Communication
    Compression. ICLR 2020. https://arxiv.org/abs/1907.09356

Paper symbol -> name here: gamma -> gossip_step, Q -> compressor, w_ij -> graph, x-hat -> belief,
eta -> lr. `order` "mix_first" is algorithm 1 of the second paper, "compress_first" that of the
first.
Differences from the papers: a round may have more than one local step (`period`; 1 is theirs).
Unbiased compressors are scaled by 1 / (1 + omega), as the authors' code does.
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
    """CHOCO-SGD with step size `lr` and `period` local steps between two messages."""
    step = gossip_step_of(gossip_step, ChocoStep, compressor)
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=gossip_link(compressor),
        mixing=CompressedGossip(as_graph(graph), step, order),
    )
