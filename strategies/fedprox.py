"""FedProx: local steps are pulled back towards the model that the round started from.

The proximal term keeps clients with unlike data, or with unlike amounts of work, from running off
to their own optima.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated Optimization in Heterogeneous Networks.
    2020. https://arxiv.org/abs/1812.06127

Paper symbol -> name here: mu -> mu, w^t -> view.start. Weighted by example counts as in the
authors' code; the paper instead samples in proportion to them and averages plainly.
Momentum begins every round at zero, as in `fedavg`.
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
    """FedProx with proximal weight `mu`, `period` local steps or `epochs` local passes."""
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=WeightedMean(weights),
    )
