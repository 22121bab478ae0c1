"""signSGD with majority vote: clients send signs, and each coordinate moves as most of them say.

One bit a scalar up, and a broadcast of two values only. A vote is hard to sway: a client with huge
gradients counts as much as any other. With momentum it is Signum.

    Bernstein, Wang, Azizzadenesheli, Anandkumar. signSGD: Compressed Optimisation for Non-Convex
    Problems. 2018. https://arxiv.org/abs/1802.04434
    Bernstein, Zhao, Azizzadenesheli, Anandkumar. signSGD with Majority Vote is Communication
    Efficient and Fault Tolerant. 2019. https://arxiv.org/abs/1810.05291

Symbol -> name here: eta -> lr, beta -> momentum, sign(m) -> the signs of the message.

The method has one local step: x moves by lr along the majority, whatever the size of a client's
step, so the factor 1 - beta of the papers' momentum changes nothing. A tie moves nothing. The move
is -lr, 0 or lr in every coordinate, which TernGrad's two bits carry exactly. Weight decay is part
of the gradient whose sign is sent.

Differences from the papers: the message also carries the mean size of the client's step, one float,
which the vote does not read. A bit knows no zero, and a client whose gradient is zero tosses a
coin; in the authors' code it always votes for the same side, which moves weights that nobody's
data reach, and drowns the few clients that do reach them. With uplink=identity it abstains.
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
    """Move every coordinate by lr in the direction that most of the cohort's messages have."""

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        # A sum of signs is a whole number, so that a tie is zero; a weighted mean might miss it.
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
    """Majority vote over the signs of what `uplink` delivers, with step size `lr`."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=ConstantPeriod(1),
        uplink=uplink,
        downlink=downlink,
        mixing=MajorityVote(),
    )
