"""Anytime Minibatch: rounds of fixed duration, in which slow clients contribute fewer gradients.

For a fixed compute time each client sums mini-batch gradients at the model the round started from.
No client waits for another and no work is lost. The mean over all mini-batches updates the model
by dual averaging.

    Ferdinand, Al-Lawati, Draper, Nokleby. Anytime Minibatch: Exploiting Stragglers in Online
    Distributed Optimization. ICLR 2019. https://arxiv.org/abs/2006.05752

Paper symbol -> name here: T -> seconds, b_i -> steps, z -> dual, beta(t) = K + sqrt(t / mu) with
K -> 1 / lr and mu -> expected_examples, h(w) -> |w - w(1)|^2 / 2.
Differences from the paper: a server averages exactly, instead of rounds of consensus. b_i counts
mini-batches and not examples, which is the same where clients have equal batch sizes. Weight decay
is part of the gradient at the round's start. Momentum would weigh a client's gradients unequally,
while the method's mean counts each once; so it is refused.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Correction, Guarantee, Mixing, OuterOptimiser, Round, View
from fedlocal.slots.inner.sgd import SGD, check_weight_decay, check_without
from fedlocal.slots.period import FixedTime
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number
from fedlocal.vectors.trees import Tree, weighted_mean


@dataclass(frozen=True)
class GradientAtStart(Correction):
    """Step along the mini-batch gradient at the round's start instead of at the current model."""

    weight_decay: float = 0.0
    batched_fields: ClassVar[tuple[str, ...]] = ("weight_decay",)

    def __post_init__(self) -> None:
        """Raise ValueError if weight_decay is negative."""
        check_weight_decay(self.weight_decay)

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        return view.gradient(view.start) + self.weight_decay * view.start


@dataclass(frozen=True)
class MeanGradient(Mixing):
    """The negative mean of the mini-batch gradients of all clients, each counted once."""

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Return the plain mean: gradients are averaged, not models."""
        return frozenset({Guarantee.PLAIN_MEAN})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        return steps / steps.sum()

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        per_step = received / info.step_sums.unsqueeze(1)
        return weighted_mean(per_step, info.weights).unsqueeze(0), state


class DualState(NamedTuple):
    """State of `DualAveraging`.

    dual: z, the sum of mean gradients, [A, P].
    moved: w(t) - w(1), [A, P].
    """

    dual: Tensor
    moved: Tensor


@dataclass(frozen=True)
class DualAveraging(OuterOptimiser):
    """Dual averaging: z <- z + g, w(t+1) = w(1) - z / beta(t+1), with t counted from 1."""

    lr: float
    expected_examples: float

    def __post_init__(self) -> None:
        """Raise ValueError unless expected_examples is positive."""
        advice = "; inf (.inf in a yaml file) keeps the step size constant"
        check_number("expected_examples", self.expected_examples, advice, above=0, infinite=True)

    def init(self, anchor: Tensor) -> DualState:
        return DualState(torch.zeros_like(anchor), torch.zeros_like(anchor))

    def step(self, pseudo_grad: Tensor, state: DualState, info: Round) -> tuple[Tensor, DualState]:
        beta = 1 / self.lr + ((info.round_index + 2) / self.expected_examples) ** 0.5
        dual = state.dual + pseudo_grad
        return -dual / beta - state.moved, DualState(dual, -dual / beta)


def anytime_minibatch(
    lr: float = 0.1,
    seconds: float = 0.1,
    expected_examples: float = 2500.0,
    most: int = 1000,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return Anytime Minibatch with `seconds` simulated seconds of computation per round.

    `most` bounds the mini-batches of a client per round. `expected_examples` sets how fast the step
    size decays: beta(t) = 1 / lr + sqrt(t / expected_examples); inf keeps it constant.
    """
    reason = "its mean counts every gradient once. Leave it out, or take local_sgd"
    check_without("anytime_minibatch", reason, momentum=momentum, nesterov=nesterov)
    return Strategy(
        inner=SGD(lr),
        correction=GradientAtStart(weight_decay),
        period=FixedTime(seconds, most),
        mixing=MeanGradient(),
        outer=DualAveraging(lr, expected_examples),
    )
