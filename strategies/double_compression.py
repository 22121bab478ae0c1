"""Local SGD with error-compensated compression on both links.

Clients compress the change of their local steps, and the server compresses the mean change. Each
keeps the compression error of its message and adds it to the next one. The model minus the
residuals then follows the recursion of uncompressed local SGD.

    Gao, Xu, Huang. On the Convergence of Communication-Efficient Local SGD for Federated Learning.
    AAAI 2021. https://doi.org/10.1609/aaai.v35i9.16920

Paper symbol -> name here: e_i -> the uplink's residual, E -> the downlink's residual, C -> uplink,
downlink, mu -> momentum. Residuals are in model units.

Differences from the paper: it does not specify the treatment of the clients' momentum at a
synchronisation; here it is kept unless `buffers` says otherwise. A client that missed a round
receives the whole model, which the ledger counts.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import TopK, error_feedback
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def double_compression(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    uplink: Compressor = TopK(0.01),
    downlink: Compressor = TopK(0.01),
    momentum: float = 0.0,
    buffers: Buffers = "keep",
    nesterov: bool = False,
    weight_decay: float = 0.0,
    weights: Weights = "uniform",
) -> Strategy:
    """Return double compression; both compressors are wrapped in error feedback."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=error_feedback(uplink),
        downlink=error_feedback(downlink),
        mixing=WeightedMean(weights),
    )
