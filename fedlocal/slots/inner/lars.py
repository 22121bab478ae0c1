"""LARS: layer-wise adaptive step sizes, in proportion to the norm of each layer."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fedlocal.slots.inner.sgd import Buffered, MomentumState, check_momentum, check_weight_decay
from fedlocal.utils.checks import check_number
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


@dataclass(frozen=True)
class LARS(Buffered):
    """Momentum SGD with a gradient scaled per layer by trust |w| / (|g| + weight_decay |w| + eps).

    d = g + weight_decay w, scaled by the layer's ratio; v <- momentum v + d; x <- x - lr v. If
    |w| or |g| is 0 the ratio is 1. The paper has lr inside v, which is the same until lr changes.

    Reference: You, Gitman, Ginsburg. Large Batch Training of Convolutional Networks. 2017.
    https://arxiv.org/abs/1708.03888

    Attributes:
        trust: Trust coefficient, the paper's eta.
        sizes: Number of scalars of each layer; set by `bind`.
    """

    trust: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0
    eps: float = 1e-8
    sizes: tuple[int, ...] = ()
    batched_fields: ClassVar[tuple[str, ...]] = ("lr", "trust", "momentum", "weight_decay", "eps")

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        super().__post_init__()
        check_momentum("momentum", self.momentum)
        check_weight_decay(self.weight_decay)
        check_number("trust", self.trust, "; for example trust=0.001", above=0)
        check_number("eps", self.eps, least=0)

    def bind(self, spec: ParamSpec) -> "LARS":
        return replace(self, sizes=spec.sizes)

    def init(self, x: Tensor) -> MomentumState:
        return MomentumState(torch.zeros_like(x))

    def step(
        self, x: Tensor, direction: Tensor, state: MomentumState, lr: Tensor
    ) -> tuple[Tensor, Tree]:
        layers = zip(*(torch.split(v, list(self.sizes)) for v in (x, direction)), strict=True)
        scaled = torch.cat([self._scale(w, g) for w, g in layers])
        velocity = self.momentum * state.velocity + scaled
        return x - lr * velocity, MomentumState(velocity)

    def _scale(self, w: Tensor, g: Tensor) -> Tensor:
        weight, grad = torch.linalg.vector_norm(w), torch.linalg.vector_norm(g)
        ratio = self.trust * weight / (grad + self.weight_decay * weight + self.eps)
        # A mask and not a branch, since under vmap there is one pair of norms per client.
        return torch.where(weight * grad > 0, ratio, 1.0) * (g + self.weight_decay * w)
