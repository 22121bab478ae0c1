"""Post-local SGD: synchronise at every step in the first phase, then run local SGD.

At the high step sizes of the first phase local steps cost accuracy. In the second phase they save
communication and lead to wider minima.

    Lin, Stich, Patel, Jaggi. Don't Use Large Mini-Batches, Use Local SGD. 2020.
    https://arxiv.org/abs/1808.07217

The switch is given in rounds: the first `switch_round` rounds have one local step each. In both
phases models are averaged after local steps and momentum stays on the clients, as in the authors'
code. Ortiz et al. 2021 (https://arxiv.org/abs/2110.08133) average gradients in the first phase, so
that all buffers are equal at the switch; buffers="average" gives that. Without momentum the two are
the same.
"""

from fedlocal.slots import Rate
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import SwitchPeriod
from fedlocal.slots.strategy import Strategy


def post_local_sgd(
    lr: float | Rate = 0.1,
    period: int = 20,
    switch_round: int = 50,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "keep",
    weights: Weights = "uniform",
) -> Strategy:
    """Return local SGD with period 1 for `switch_round` rounds, then `period` local steps."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=SwitchPeriod(before=1, after=period, at=switch_round),
        mixing=WeightedMean(weights),
    )
