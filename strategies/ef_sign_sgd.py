"""EF-signSGD: one bit per scalar on the uplink, with error feedback.

A message holds the signs of a client's change and their mean magnitude. The compression error is
kept and added to the next message, which makes up for the magnitudes that signs lose.

    Karimireddy, Rebjock, Stich, Jaggi. Error Feedback Fixes SignSGD and other Gradient Compression
    Schemes. 2019. https://arxiv.org/abs/1901.09847

Paper symbol -> name here: e_t -> the uplink's residual, Delta_t -> the message, gamma -> lr,
p_t -> the change x - start. Residuals are in model units, as in the paper.

Differences from the paper: it has one worker; here the server averages many clients. Signs have one
scale per layer, and momentum is applied before compression, both as in the authors' code. With
period > 1 the change of the local steps is compressed: local EF-signSGD.
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
    """Return EF-signSGD with `period` local steps per round.

    `uplink` is wrapped in error feedback; without PerLayer all layers share one scale.
    """
    return qsparse_local_sgd(lr, period, uplink, momentum, buffers, nesterov, weight_decay, weights)
