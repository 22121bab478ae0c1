"""The proximal correction, which several strategies share; others are in their strategy's file."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlocal.slots.correction.base import Correction
from fedlocal.slots.guarantees import Guarantee, View
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class Proximal(Correction):
    """Add the gradient of mu / 2 |x - start|^2.

    Reference: Li et al. Federated Optimization in Heterogeneous Networks. 2020.
    https://arxiv.org/abs/1812.06127
    """

    mu: float
    batched_fields: ClassVar[tuple[str, ...]] = ("mu",)

    def __post_init__(self) -> None:
        """Raise ValueError if mu is negative."""
        check_number("mu", self.mu, "; the paper tries 0.001 to 1", least=0)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Nothing: the term is relative to each client's own start."""
        return frozenset()

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        return grad + self.mu * (x - view.start)
