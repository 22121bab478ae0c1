"""AdaComm: local SGD whose period shrinks as the training loss falls.

A long period makes fast progress in wall-clock time while the loss is high. Later the disagreement
between clients dominates the error, and a short period reduces it. After every block of training
the period is set again from the ratio of the current loss to the first one.

    Wang, Joshi. Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in
    Local-Update SGD. 2019. https://arxiv.org/abs/1810.08313

Paper symbol -> name here: tau_0 -> initial_period, gamma -> gamma, T_0 -> block (in `unit`),
F -> `loss`, eta -> lr; the power of eta_0 / eta_l -> exponent.

The rule is `fedlocal.slots.period.AdaComm`, which any strategy may use as its period.
Differences from the paper: F_0 and F_l are the clients' mean training losses in the first round and
in the last round of a block, which need no evaluation (loss=train_loss is the paper's). Blocks are
counted from the end of the first round.
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
    """Return local SGD with an adaptive period.

    The first rounds have `initial_period` local steps. `block` is the time between two changes of
    the period, in rounds or simulated seconds (`unit`). `gamma`, in (0, 1), is the factor by which
    the period shrinks where the loss alone would not shorten it.
    """
    return Strategy(
        inner=sgd(lr, buffers, momentum, nesterov, weight_decay),
        period=AdaComm(initial_period, gamma, exponent, block, unit, loss),
        mixing=WeightedMean(weights),
    )
