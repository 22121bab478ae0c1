"""Mini-batch SGD: synchronise after every step. The baseline of everything else here.

One step on each client followed by the mean of the models is the step along the mean gradient, so
this is local SGD with period 1, and the same code runs it.

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
    """Mini-batch SGD over all clients' batches with step size `lr`."""
    return local_sgd(lr, 1, momentum, nesterov, weight_decay, "keep", weights)
