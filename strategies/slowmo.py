"""SlowMo: a slow momentum step on top of local SGD.

The server divides the change of the mean model over a round by the round's step size, and uses the
result as the gradient of an outer momentum step. This recovers accuracy lost with long periods.

    Wang, Tantia, Ballas, Rabbat. SlowMo. 2020. https://arxiv.org/abs/1910.00643

Paper symbol -> name here: alpha -> slow_lr, beta -> slow_momentum, u_t -> slow, gamma_t -> lr.
The base optimiser's buffers are reset at every round, as the paper does with a Nesterov base.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import SlowMomentum
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def slowmo(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    slow_lr: float = 1.0,
    slow_momentum: float = 0.5,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "reset",
    weights: Weights = "uniform",
) -> Strategy:
    """Return SlowMo on local SGD with `period` local steps per round.

    `slow_lr` scales the outer step (1 is usual); `slow_momentum` is in [0, 1).
    """
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=WeightedMean(weights),
        outer=SlowMomentum(slow_lr, slow_momentum),
    )
