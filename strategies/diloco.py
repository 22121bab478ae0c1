"""DiLoCo: AdamW on the clients, Nesterov SGD on the server, very long periods.

    Douillard et al. DiLoCo: Distributed Low-Communication Training of Language Models. 2023.
    https://arxiv.org/abs/2311.08105

Paper symbol -> name here: H -> period, InnerOpt -> AdamW, OuterOpt -> OuterSGD with Nesterov
momentum, Delta -> pseudo-gradient. AdamW's moments stay on the clients between rounds.
"""

from fedlocal.inner import AdamW
from fedlocal.outer import OuterSGD
from fedlocal.period import period_of
from fedlocal.pieces import Period, Rate
from fedlocal.strategy import Strategy


def diloco(
    lr: float | Rate = 1e-3,
    period: int | Period = 500,
    outer_lr: float = 0.7,
    outer_momentum: float = 0.9,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
) -> Strategy:
    """DiLoCo with inner step size `lr` and `period` inner steps per round."""
    return Strategy(
        inner=AdamW(lr, betas=(betas[0], betas[1]), weight_decay=weight_decay),
        period=period_of(period),
        outer=OuterSGD(outer_lr, outer_momentum, nesterov=True),
    )
