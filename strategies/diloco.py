"""DiLoCo: AdamW on the clients, Nesterov SGD on the server, very long periods.

Clients take hundreds of AdamW steps between two synchronisations. The server treats the mean change
of a round as a pseudo-gradient and takes one step of SGD with Nesterov momentum along it.

    Douillard et al. DiLoCo: Distributed Low-Communication Training of Language Models. 2023.
    https://arxiv.org/abs/2311.08105

Paper symbol -> name here: H -> period, InnerOpt -> AdamW, OuterOpt -> OuterSGD with Nesterov
momentum, Delta -> pseudo-gradient. AdamW's moments stay on the clients between rounds (`buffers`),
and its weight decay is decoupled from the gradient. The inner momentum is the first of `betas`, so
`momentum` and `nesterov` are refused.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.sgd import AdamW, Buffers, check_without
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def diloco(
    lr: float | Rate = 1e-3,
    period: int | Period = 500,
    outer_lr: float = 0.7,
    outer_momentum: float = 0.9,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    buffers: Buffers = "keep",
    weights: Weights = "uniform",
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Strategy:
    """Return DiLoCo with `period` inner steps per round.

    `lr` is AdamW's step size, `betas` are the decay rates of its moments, in [0, 1). `outer_lr` and
    `outer_momentum` are the server's step size and momentum.
    """
    reason = "AdamW's is the first of betas, the server's is outer_momentum. Set one of these"
    check_without("diloco", reason, momentum=momentum, nesterov=nesterov)
    return Strategy(
        inner=AdamW(lr, buffers, betas=(betas[0], betas[1]), weight_decay=weight_decay),
        period=period_of(period),
        mixing=WeightedMean(weights),
        outer=OuterSGD(outer_lr, outer_momentum, nesterov=outer_momentum != 0),
    )
