"""One-shot averaging: every client trains alone to the end, then the models are averaged once.

Clients do not communicate before that, so a run needs one upload per client.

    Zinkevich, Weimer, Smola, Li. Parallelized Stochastic Gradient Descent. 2010.
    Zhang, Duchi, Wainwright. Communication-Efficient Algorithms for Statistical Optimization.
    2013. https://arxiv.org/abs/1209.4129
"""

from dataclasses import replace

from fedlocal.slots import Period, Rate
from fedlocal.slots.mixing import Weights
from fedlocal.slots.strategy import Strategy
from strategies.local_sgd import local_sgd


def one_shot(
    lr: float | Rate = 0.1,
    period: int | Period = 1000,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    weights: Weights = "uniform",
) -> Strategy:
    """Return one round of `period` local steps; the run ends after it whatever its `rounds`."""
    long = local_sgd(lr, period, momentum, nesterov, weight_decay, "keep", weights)
    return replace(long, rounds=1)
