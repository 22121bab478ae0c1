"""Post-local SGD: synchronise at every step first, then train locally.

Early on the models move fast and averaging rarely costs accuracy; once the learning rate is low,
local steps explore wider minima and save the communication.

    Lin, Stich, Patel, Jaggi. Don't Use Large Mini-Batches, Use Local SGD. 2020.
    https://arxiv.org/abs/1808.07217

The switch is given in rounds: the first `switch_round` rounds have one local step each. In both
phases models are averaged after local steps and momentum stays on the clients, as in the authors'
code. Ortiz et al. 2021 (https://arxiv.org/abs/2110.08133) average gradients in the first phase, so
that all buffers are equal at the switch, as they are with buffers="average"; without momentum the
two are the same.
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
    """Period 1 for `switch_round` rounds, then `period`."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=SwitchPeriod(before=1, after=period, at=switch_round),
        mixing=WeightedMean(weights),
    )
