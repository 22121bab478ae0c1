"""Qsparse-local-SGD: local SGD whose uplink sparsifies, then quantises, with error feedback.

After its local steps a client sends the largest coordinates of its change, quantised. The error of
the message is kept and added to the next one.

    Basu, Data, Karakus, Diggavi. Qsparse-local-SGD: Distributed SGD with Quantization,
    Sparsification, and Local Computations. 2019. https://arxiv.org/abs/1906.02367

Paper symbol -> name here: m_t -> the uplink's residual, QComp_k -> uplink, H -> period. The
broadcast is the uncompressed model.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import QSGD, QuantisedTopK, TopK, error_feedback
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def qsparse_local_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    uplink: Compressor = QuantisedTopK(TopK(0.01), QSGD(16)),
    momentum: float = 0.0,
    buffers: Buffers = "keep",
    nesterov: bool = False,
    weight_decay: float = 0.0,
    weights: Weights = "uniform",
) -> Strategy:
    """Return Qsparse-local-SGD; `uplink` is wrapped in error feedback."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=period_of(period),
        uplink=error_feedback(uplink),
        mixing=WeightedMean(weights),
    )
