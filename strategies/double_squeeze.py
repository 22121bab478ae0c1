"""DoubleSqueeze: synchronise at every step, compressed and error-compensated in both directions.

Clients compress their gradients and the server compresses the mean of what it received; each keeps
what its own message left out and adds it to the next one.

    Tang, Lian, Yu, Zhang, Liu. DoubleSqueeze: Parallel Stochastic Gradient Descent with Double-Pass
    Error-Compensated Compression. 2019. https://arxiv.org/abs/1905.05957

Paper symbol -> name here: delta^(i) -> the uplink's residual, delta -> the downlink's residual,
Q -> uplink, downlink, gamma -> lr.

Differences from the paper: residuals are in model units, gamma delta, and not in those of a
gradient. The two are the same while lr is constant; when it drops, what was left out before is sent
here at the old lr and in the paper at the new one. Momentum goes into what is compressed, as in
`ef_sign_sgd`; the paper has none.
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
    """DoubleSqueeze, one bit a scalar each way; both compressors are wrapped in error feedback."""
    return double_compression(
        lr, 1, uplink, downlink, momentum, buffers, nesterov, weight_decay, weights
    )
