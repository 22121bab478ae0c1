"""Inner optimisers: SGD, momentum SGD and AdamW along the corrected direction.

Momentum is PyTorch's: v <- momentum v + g, x <- x - lr v; Nesterov steps along g + momentum v.
"""

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.slots.inner.base import InnerOptimiser, Rate, as_rate
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree, tree_map, weighted_mean

Buffers = Literal["keep", "reset", "average"]
# The guarantees that do not hold, by the treatment of buffers at a synchronisation.
BROKEN_BY_BUFFERS = {
    "keep": frozenset({Guarantee.EQUAL_BUFFERS, Guarantee.FRESH_BUFFERS}),
    "average": frozenset({Guarantee.FRESH_BUFFERS}),
    "reset": frozenset[Guarantee](),
}


@dataclass(frozen=True)
class Buffered(InnerOptimiser):
    """An inner optimiser with buffers, and their treatment at a synchronisation.

    Attributes:
        lr: Step size, or a schedule.
        buffers: "keep" leaves them on the client, "reset" sets them to zero at every round's start,
            "average" sends and averages them with the model, one more vector per buffer and link.
    """

    lr: float | Rate
    buffers: Buffers = "keep"
    batched_fields: ClassVar[tuple[str, ...]] = ("lr",)

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid step size or an unknown treatment of buffers."""
        as_rate(self.lr)
        if self.buffers not in ("keep", "reset", "average"):
            raise ValueError(f"buffers must be keep, reset or average, got {self.buffers!r}")

    @property
    def requires(self) -> frozenset[Guarantee]:
        """An averaging server if buffers are averaged, else nothing."""
        average = self.buffers == "average"
        return frozenset({Guarantee.AVERAGING_SERVER}) if average else frozenset()

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Linear steps, and those of the buffers' treatment; linear optimisers override this."""
        return BROKEN_BY_BUFFERS[self.buffers] | {Guarantee.LINEAR_STEPS}

    def rates(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        return as_rate(self.lr).at(round_index, first_step, steps)

    def control(self, x: Tensor) -> Tree:
        return self.init(x) if self.buffers == "average" else ()

    def begin(self, state: Tree, control: Tree) -> Tree:
        if self.buffers == "reset":
            return tree_map(torch.zeros_like, state)
        return control if self.buffers == "average" else state

    def report(self, state: Tree) -> Tree:
        return state if self.buffers == "average" else ()

    def combine(self, control: Tree, reports: Tree, info: Round) -> Tree:
        return weighted_mean(reports, info.weights) if self.buffers == "average" else control


@dataclass(frozen=True)
class SGD(Buffered):
    """Stochastic gradient descent without momentum."""

    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError if weight_decay is negative."""
        super().__post_init__()
        check_weight_decay(self.weight_decay)

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Nothing: there are no buffers, and steps are linear."""
        return frozenset()

    def init(self, x: Tensor) -> Tree:
        return ()

    def step(self, x: Tensor, direction: Tensor, state: Tree, lr: Tensor) -> tuple[Tensor, Tree]:
        return _descend(x, _add_weight_decay(direction, x, self.weight_decay), lr), state


class MomentumState(NamedTuple):
    """State of `Momentum`.

    velocity: v, [P].
    """

    velocity: Tensor


@dataclass(frozen=True)
class Momentum(SGD):
    """SGD with heavy-ball or Nesterov momentum."""

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        super().__post_init__()
        check_momentum("momentum", self.momentum)

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees of the buffers' treatment; steps are linear."""
        return BROKEN_BY_BUFFERS[self.buffers]

    def effective(self, rates: Tensor) -> Tensor:
        # The velocity of a constant direction of 1 after h steps is 1 + b + ... + b^(h - 1).
        taken = torch.arange(len(rates), dtype=rates.dtype, device=rates.device)
        velocity = torch.cumsum(self.momentum**taken, 0)
        return rates * (1 + self.momentum * velocity if self.nesterov else velocity)

    def init(self, x: Tensor) -> MomentumState:
        return MomentumState(torch.zeros_like(x))

    def step(
        self, x: Tensor, direction: Tensor, state: MomentumState, lr: Tensor
    ) -> tuple[Tensor, MomentumState]:
        grad = _add_weight_decay(direction, x, self.weight_decay)
        velocity = torch.add(grad, state.velocity, alpha=self.momentum)
        along = torch.add(grad, velocity, alpha=self.momentum) if self.nesterov else velocity
        return _descend(x, along, lr), MomentumState(velocity)


def sgd(
    lr: float | Rate,
    buffers: Buffers = "keep",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Buffered:
    """Return SGD with these options: `SGD` without momentum, else `Momentum`.

    `Momentum(momentum=0)` takes the same steps, but a third more time per round and one more vector
    per client.
    """
    check_momentum("momentum", momentum)
    check_nesterov("momentum of local steps", momentum, nesterov)
    if momentum == 0:
        return SGD(lr, buffers, weight_decay)
    return Momentum(lr, buffers, weight_decay, momentum, nesterov)


class AdamState(NamedTuple):
    """State of `AdamW`.

    mean, square: Running first and second moment, [P].
    taken: Number of steps so far, [].
    """

    mean: Tensor
    square: Tensor
    taken: Tensor


@dataclass(frozen=True)
class AdamW(Buffered):
    """Adam with decoupled weight decay, as `torch.optim.AdamW`.

    Reference: Loshchilov, Hutter. Decoupled Weight Decay Regularization. 2019.
    https://arxiv.org/abs/1711.05101
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    batched_fields: ClassVar[tuple[str, ...]] = ("lr", "eps", "weight_decay")

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        super().__post_init__()
        check_number("eps", self.eps, least=0)
        check_weight_decay(self.weight_decay)
        for beta in self.betas:
            check_momentum("each of betas", beta)

    def init(self, x: Tensor) -> Tree:
        return AdamState(torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(()))

    def step(self, x: Tensor, direction: Tensor, state: Tree, lr: Tensor) -> tuple[Tensor, Tree]:
        first, second = self.betas
        mean = first * state.mean + (1 - first) * direction
        square = second * state.square + (1 - second) * direction * direction
        taken = state.taken + 1
        unbiased = mean / _bias_correction(first, taken)
        scale = torch.sqrt(square / _bias_correction(second, taken)) + self.eps
        x = x * (1 - lr * self.weight_decay) - lr * unbiased / scale
        return x, AdamState(mean, square, taken)


def _bias_correction(beta: float, taken: Tensor) -> Tensor:
    # 1 - beta^t by expm1: the difference would lose four digits in float32 at the first step.
    return -torch.expm1(taken * log(beta)) if beta else torch.ones_like(taken)


def check_without(method: str, reason: str, **options: float) -> None:
    """Raise ValueError, with the reason, if an option is set that the method does not take."""
    for name, value in options.items():
        if value:
            raise ValueError(f"{method} takes no {name}, got {value}: {reason}")


def check_momentum(name: str, value: float) -> None:
    """Raise ValueError unless 0 <= value < 1."""
    check_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_nesterov(name: str, momentum: float, nesterov: bool) -> None:
    """Raise ValueError for Nesterov momentum of 0, which would be none."""
    if not isinstance(nesterov, bool):
        raise ValueError(f"nesterov must be True or False, got {nesterov!r}")
    if nesterov and momentum == 0:
        raise ValueError(
            f"nesterov=True changes the {name}, which is 0; give a momentum, for example 0.9, or"
            " leave nesterov out"
        )


def check_weight_decay(value: float) -> None:
    """Raise ValueError unless value is finite and >= 0."""
    check_number("weight_decay", value, least=0)


def _add_weight_decay(direction: Tensor, x: Tensor, weight_decay: float) -> Tensor:
    # Adding zero would still read and write every client's whole vector.
    return torch.add(direction, x, alpha=weight_decay) if weight_decay else direction


def _descend(x: Tensor, along: Tensor, lr: Tensor) -> Tensor:
    # x - lr * along in one pass, since a step is memory-bound.
    return torch.addcmul(x, along, lr, value=-1)
