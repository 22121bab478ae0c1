"""Mini-batch SGD: synchronise after every step, the baseline of all other strategies.

One step on each client followed by the mean of the models equals one step along the mean gradient.
So this is local SGD with period 1.

    Dekel et al. Optimal Distributed Online Prediction Using Mini-Batches. 2012.
    https://arxiv.org/abs/1012.1367
"""

from fedlocal.slots import Rate
from fedlocal.slots.mixing import Weights
from fedlocal.slots.strategy import Strategy
from strategies.local_sgd import local_sgd


def minibatch_sgd(
    lr: float | Rate = 0.1,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    weights: Weights = "uniform",
) -> Strategy:
    """Return mini-batch SGD over all clients' batches with step size `lr`."""
    return local_sgd(lr, 1, momentum, nesterov, weight_decay, "keep", weights)
