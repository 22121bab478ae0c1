"""Outer optimisers that several strategies share; others are in their strategy's file."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.slots.inner.sgd import check_momentum, check_nesterov
from fedlocal.slots.outer.base import OuterOptimiser
from fedlocal.utils.checks import check_number


class OuterState(NamedTuple):
    """State of `OuterSGD`.

    velocity: Sum of decayed pseudo-gradients, [A, P].
    """

    velocity: Tensor


@dataclass(frozen=True)
class OuterSGD(OuterOptimiser):
    """SGD on the anchor along the pseudo-gradient; with the defaults the anchor becomes the mean.

    v <- momentum v + d, the anchor moves by -lr v; with `nesterov` it moves by
    -lr (d + momentum v).
    """

    lr: float = 1.0
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a momentum outside [0, 1) or a step size <= 0."""
        check_momentum("outer momentum", self.momentum)
        check_nesterov("outer momentum", self.momentum, self.nesterov)
        check_number("outer lr", self.lr, "; 1.0 takes the mean", above=0)

    @property
    def plain(self) -> bool:
        """Whether the anchor moves exactly to the mean."""
        return self.lr == 1 and self.momentum == 0

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Nothing if it takes the plain mean, else an averaging server."""
        return frozenset() if self.plain else super().requires

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The plain mean, unless lr is 1 and momentum is 0."""
        return frozenset() if self.plain else super().breaks

    def init(self, anchor: Tensor) -> OuterState:
        return OuterState(torch.zeros_like(anchor))

    def step(
        self, pseudo_grad: Tensor, state: OuterState, info: Round
    ) -> tuple[Tensor, OuterState]:
        velocity = self.momentum * state.velocity + pseudo_grad
        along = pseudo_grad + self.momentum * velocity if self.nesterov else velocity
        return -self.lr * along, OuterState(velocity)


class SlowState(NamedTuple):
    """State of `SlowMomentum`.

    slow: u_t, in gradient units so that a change of lr does not rescale it, [A, P].
    """

    slow: Tensor


@dataclass(frozen=True)
class SlowMomentum(OuterOptimiser):
    """Slow momentum: u <- beta u + (before - after) / gamma, anchor <- anchor - alpha gamma u.

    Reference: Wang, Tantia, Ballas, Rabbat. SlowMo. 2020. https://arxiv.org/abs/1910.00643
    """

    slow_lr: float = 1.0
    slow_momentum: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError for a momentum outside [0, 1) or a step size <= 0."""
        check_momentum("slow_momentum", self.slow_momentum)
        check_number("slow_lr", self.slow_lr, "; the paper uses 1", above=0)

    def init(self, anchor: Tensor) -> SlowState:
        return SlowState(torch.zeros_like(anchor))

    def step(self, pseudo_grad: Tensor, state: SlowState, info: Round) -> tuple[Tensor, SlowState]:
        slow = self.slow_momentum * state.slow + pseudo_grad / info.lr
        return -self.slow_lr * info.lr * slow, SlowState(slow)
