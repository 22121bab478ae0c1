"""AdaComm: local SGD that synchronises rarely at first and ever more often as the loss falls.

Long periods make fast progress while the loss is high and the disagreement of the clients matters
little; near the end the disagreement is what is left, and short periods remove it.

    Wang, Joshi. Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in
    Local-Update SGD. 2019. https://arxiv.org/abs/1810.08313

Paper symbol -> name here: tau_0 -> initial_period, gamma -> gamma, T_0 -> block (in `unit`),
F -> `loss`, eta -> lr; the power of eta_0 / eta_l -> exponent.

The rule is `fedlocal.slots.period.AdaComm`, which other strategies may use as their period.
Differences from the paper: F_0 and F_l are the clients' mean losses while they trained in the first
round and in the block's last one, which cost no evaluation (train_loss is the paper's), and blocks
count from the end of the first round.
"""

from typing import Literal

from fedlocal.slots import Rate
from fedlocal.slots.inner.sgd import Buffers, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import AdaComm
from fedlocal.slots.strategy import Strategy


def adacomm(
    lr: float | Rate = 0.1,
    initial_period: int = 20,
    gamma: float = 0.5,
    exponent: int = 1,
    block: float = 10.0,
    unit: Literal["rounds", "seconds"] = "rounds",
    loss: Literal["local_loss", "train_loss"] = "local_loss",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    buffers: Buffers = "keep",
    weights: Weights = "uniform",
) -> Strategy:
    """Local SGD that begins with `initial_period` local steps per round."""
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=AdaComm(initial_period, gamma, exponent, block, unit, loss),
        mixing=WeightedMean(weights),
    )
