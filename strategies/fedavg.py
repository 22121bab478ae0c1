"""FedAvg: local SGD with sampled clients, weighted by their example counts.

In each round a sampled cohort starts from the global model and trains on its own data. The new
global model is the mean of the cohort's models, weighted by example counts.

    McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-Efficient Learning of Deep
    Networks from Decentralized Data. 2017. https://arxiv.org/abs/1602.05629

Paper symbol -> name here: C -> participation (of the run), E -> epochs, B -> batch_size (of the
run), n_k -> example counts. Weights are n_k over the sum of the sampled clients' counts, as in the
arXiv version's erratum. Momentum starts every round at zero, because that of a rarely sampled
client would be stale. `local_sgd` with weights="examples" can keep it.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def fedavg(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    epochs: float | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    weights: Weights = "examples",
    nesterov: bool = False,
) -> Strategy:
    """Return FedAvg with `period` local steps, or with `epochs` passes over each client's own data.

    >>> fedavg(epochs=2).mixing
    WeightedMean(weights='examples')
    """
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        period=period_of(period, epochs),
        mixing=WeightedMean(weights),
    )
