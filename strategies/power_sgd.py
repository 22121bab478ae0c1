"""PowerSGD: low-rank gradient compression with error feedback, and momentum on the server.

The gradient of a layer is sent as the product of two thin matrices. One step of power iteration per
round, warm-started from the last round, finds them at low cost.

    Vogels, Karimireddy, Jaggi. PowerSGD: Practical Low-Rank Gradient Compression for Distributed
    Optimization. 2019. https://arxiv.org/abs/1905.13727

Paper symbol -> name here: r -> rank, Q -> the compressor's state, e_w -> the uplink's residual,
lambda -> momentum, gamma -> lr.

Differences from the paper: each client compresses its own vector (see `PowerSGD`), and its residual
is the error of its own message; the authors' code subtracts the mean of all messages. Momentum is
by default Nesterov's as in PyTorch, g + lambda m, where the paper steps along g + m. Residual and
momentum are in model units, so a drop of lr does not rescale them. With period > 1 the change of
the local steps is compressed. The broadcast is an uncompressed model unless the run's
`downlink` compresses it. Clients have no momentum of their own: as in the paper it acts on the
decompressed mean.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import PowerSGD, error_feedback
from fedlocal.slots.inner.sgd import SGD
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def power_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    uplink: Compressor = PowerSGD(2),
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = True,
    weights: Weights = "uniform",
) -> Strategy:
    """Return PowerSGD; `uplink` is wrapped in error feedback, `momentum` is the server's."""
    return Strategy(
        inner=SGD(lr, weight_decay=weight_decay),
        period=period_of(period),
        uplink=error_feedback(uplink),
        mixing=WeightedMean(weights),
        outer=OuterSGD(1.0, momentum, nesterov and momentum != 0),
    )
