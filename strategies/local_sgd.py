"""Local SGD: average the models every `period` steps instead of the gradients at every step.

All clients start from one model, take `period` SGD steps on their own data, and continue from the
mean of their models. This needs 1 / period of the communication of mini-batch SGD.

    Stich. Local SGD Converges Fast and Communicates Little. 2019.
    https://arxiv.org/abs/1805.09767
    Yu, Yang, Zhu. Parallel Restarted SGD (non-IID data). 2019. https://arxiv.org/abs/1807.06629

Paper symbol -> name here: H (or tau, k) -> period, eta -> lr, a -> average_shift.

With `average_shift` the run's result is the weighted average of all local iterates of Stich's
theorem, w_t = (a + t)^2; training itself is the same. The theorem's step sizes are
`fedlocal.slots.inner.stich_rate`.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.averaged import WeightedIterate
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def local_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "keep",
    weights: Weights = "uniform",
    average_shift: float | None = None,
) -> Strategy:
    """Return local SGD with step size `lr` and `period` local steps per round.

    `average_shift` is a >= 0, counted in local steps; None evaluates the last iterate.

    >>> local_sgd(lr=0.05, period=10).period
    ConstantPeriod(period=10)
    """
    if average_shift is not None and weights != "uniform":
        raise ValueError(
            f"average_shift needs equal weights, got weights={weights!r}; use weights=uniform"
        )
    inner = sgd(lr, buffers, momentum, nesterov, weight_decay)
    return Strategy(
        inner=inner if average_shift is None else WeightedIterate(inner, average_shift),
        period=period_of(period),
        mixing=WeightedMean(weights),
    )
