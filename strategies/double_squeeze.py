"""DoubleSqueeze: error-compensated compression in both directions, synchronised at every step.

Clients compress their gradients, and the server compresses the mean of the received gradients. Each
keeps the compression error of its message and adds it to the next one.

    Tang, Lian, Yu, Zhang, Liu. DoubleSqueeze: Parallel Stochastic Gradient Descent with Double-Pass
    Error-Compensated Compression. 2019. https://arxiv.org/abs/1905.05957

Paper symbol -> name here: delta^(i) -> the uplink's residual, delta -> the downlink's residual,
Q -> uplink, downlink, gamma -> lr.

Differences from the paper: residuals are in model units, gamma delta, and not in gradient units.
The two are the same while lr is constant. When lr drops, a residual is sent here at the old lr and
in the paper at the new one. Momentum is applied before compression, as in `ef_sign_sgd`; the paper
has none.
"""

from fedlocal.slots import Compressor, Rate
from fedlocal.slots.compress import PerLayer, ScaledSign
from fedlocal.slots.inner.sgd import Buffers
from fedlocal.slots.mixing import Weights
from fedlocal.slots.strategy import Strategy
from strategies.double_compression import double_compression


def double_squeeze(
    lr: float | Rate = 0.1,
    uplink: Compressor = PerLayer(ScaledSign()),
    downlink: Compressor = PerLayer(ScaledSign()),
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "keep",
    weights: Weights = "uniform",
) -> Strategy:
    """Return DoubleSqueeze; both compressors are wrapped in error feedback.

    The default compressors send one bit per scalar in each direction.
    """
    return double_compression(
        lr, 1, uplink, downlink, momentum, buffers, nesterov, weight_decay, weights
    )
