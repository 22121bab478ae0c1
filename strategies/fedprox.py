"""FedProx: local steps are pulled back towards the model that the round started from.

The proximal term keeps clients with unlike data, or with unlike amounts of work, from running off
to their own optima.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated Optimization in Heterogeneous Networks.
    2020. https://arxiv.org/abs/1812.06127

Paper symbol -> name here: mu -> mu, w^t -> view.start. Weighted by example counts as in the
authors' code; the paper instead samples in proportion to them and averages plainly.
"""

from dataclasses import dataclass

from torch import Tensor

from fedlocal.inner import SGD
from fedlocal.mixing import WeightedMean, Weights
from fedlocal.period import period_of
from fedlocal.pieces import Correction, Period, Rate, View
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree


@dataclass(frozen=True)
class Proximal(Correction):
    """Add the gradient of mu / 2 |x - start|^2."""

    mu: float

    def __post_init__(self) -> None:
        """Refuse a term that pushes away."""
        if not self.mu >= 0:
            raise ValueError(f"mu must be >= 0, got {self.mu}; the paper tries 0.001 to 1")

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        return grad + self.mu * (x - view.start)


def fedprox(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    mu: float = 0.1,
    epochs: float | None = None,
    weights: Weights = "examples",
) -> Strategy:
    """FedProx with proximal weight `mu`, `period` local steps or `epochs` local passes."""
    return Strategy(
        inner=SGD(lr),
        correction=Proximal(mu),
        period=period_of(period, epochs),
        mixing=WeightedMean(weights),
    )
