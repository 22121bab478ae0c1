"""FedProx: local steps with a proximal term towards the model that the round started from.

The proximal term mu / 2 |x - start|^2 keeps clients with different data, or with different amounts
of work, close to the global model.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated Optimization in Heterogeneous Networks.
    2020. https://arxiv.org/abs/1812.06127

Paper symbol -> name here: mu -> mu, w^t -> view.start. The mean is weighted by example counts as in
the authors' code; the paper instead samples clients in proportion to their counts and takes the
plain mean. Momentum starts every round at zero, as in `fedavg`.
"""

from fedlocal.slots import Period, Rate
from fedlocal.slots.correction.proximal import Proximal
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy


def fedprox(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    mu: float = 0.1,
    epochs: float | None = None,
    weights: Weights = "examples",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return FedProx with `period` local steps, or `epochs` passes over each client's own data.

    `mu` >= 0 is the weight of the proximal term; the paper tries 0.001 to 1.
    """
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=WeightedMean(weights),
    )
