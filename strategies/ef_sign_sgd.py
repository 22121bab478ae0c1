"""EF-signSGD: one bit a scalar up, and what that loses is made up for later.

The sign of a gradient forgets its size. Here a message is signs and their mean size, and the
difference to what should have been sent is kept and added before the next message is made.

    Karimireddy, Rebjock, Stich, Jaggi. Error Feedback Fixes SignSGD and other Gradient Compression
    Schemes. 2019. https://arxiv.org/abs/1901.09847

Paper symbol -> name here: e_t -> the uplink's residual, Delta_t -> the message, gamma -> lr,
p_t -> the change x - start. Residuals are in model units, as in the paper.

Differences from the paper: it has one worker, here the server takes the mean of many. Signs have a
scale for each layer, as in the authors' code, where momentum goes into what is compressed too.
With period > 1 the change of the local steps is compressed: local EF-signSGD.
"""

from fedlocal.slots import Compressor, Period, Rate
from fedlocal.slots.compress import PerLayer, ScaledSign
from fedlocal.slots.inner.sgd import Buffers
from fedlocal.slots.mixing import Weights
from fedlocal.slots.strategy import Strategy
from strategies.qsparse_local_sgd import qsparse_local_sgd


def ef_sign_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 1,
    uplink: Compressor = PerLayer(ScaledSign()),
    momentum: float = 0.0,
    buffers: Buffers = "keep",
    nesterov: bool = False,
    weight_decay: float = 0.0,
    weights: Weights = "uniform",
) -> Strategy:
    """EF-signSGD; `uplink` is wrapped in error feedback. Without PerLayer all share one scale."""
    return qsparse_local_sgd(lr, period, uplink, momentum, buffers, nesterov, weight_decay, weights)
