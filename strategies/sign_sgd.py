"""signSGD with majority vote: clients send signs, and each coordinate moves by the majority sign.

The uplink carries one bit per scalar, the broadcast three values. The vote bounds the influence of
a client with very large gradients. With momentum this is Signum.

    Bernstein, Wang, Azizzadenesheli, Anandkumar. signSGD: Compressed Optimisation for Non-Convex
    Problems. 2018. https://arxiv.org/abs/1802.04434
    Bernstein, Zhao, Azizzadenesheli, Anandkumar. signSGD with Majority Vote is Communication
    Efficient and Fault Tolerant. 2019. https://arxiv.org/abs/1810.05291

Paper symbol -> name here: eta -> lr, beta -> momentum, sign(m) -> the signs of the message.

The method has one local step. x moves by lr along the majority sign, whatever the size of a
client's step, so the factor 1 - beta of the papers' momentum changes nothing. A tie moves nothing.
The move is -lr, 0 or lr in every coordinate, which TernGrad's two bits encode exactly. Weight decay
is part of the gradient whose sign is sent.

Differences from the papers: the message also holds the mean magnitude of the client's step, one
float, which the vote ignores. One bit cannot encode zero, so the sign of a zero gradient is random.
In the authors' code it is always the same, which moves weights that no client's data affect, and
outvotes the few clients whose data affect them. With uplink=identity a zero gradient abstains.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlocal.slots import Compressor, Mixing, Rate, Round
from fedlocal.slots.compress import ScaledSign, TernGrad
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.period import ConstantPeriod
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class MajorityVote(Mixing):
    """Majority vote: every coordinate moves by lr in the direction of most messages' sign."""

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        # A sum of signs is an integer, so a tie is exactly zero; a weighted mean might miss it.
        majority = torch.sign(torch.sign(received).sum(0))
        return info.lr * majority.unsqueeze(0), state


def sign_sgd(
    lr: float | Rate = 0.01,
    momentum: float = 0.0,
    uplink: Compressor = ScaledSign(toss=True),
    downlink: Compressor = TernGrad(),
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return signSGD with step size `lr`: a majority vote over the signs of decoded uploads."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=ConstantPeriod(1),
        uplink=uplink,
        downlink=downlink,
        mixing=MajorityVote(),
    )
