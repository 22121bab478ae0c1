"""A weighted average of all local iterates as a run's result, instead of the last iterate."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from numpy import float64
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.slots.inner.base import InnerOptimiser
from fedlocal.utils.checks import check_number
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree


class IterateState(NamedTuple):
    """State of `WeightedIterate`.

    inner: Buffers of the inner optimiser.
    mean: sum_t w_t x_t / sum_t w_t, [P]; x_0 before the first step.
    weight: S_t, the sum of w_t, [].
    taken: t, number of steps so far, [].
    """

    inner: Tree
    mean: Tensor
    weight: Tensor
    taken: Tensor


@dataclass(frozen=True)
class WeightedIterate(InnerOptimiser):
    """An optimiser whose result is the mean of its iterates x_t, weighted by (shift + t)^2.

    x_t is the model before local step t, counted from 0. The clients' means are averaged at the
    end, which in a deployment costs one more upload per client. The treatment of buffers at a
    synchronisation applies to the inner optimiser and not to these sums.

    Reference: Stich. Local SGD Converges Fast and Communicates Little. 2019 (theorem 2.2).
    https://arxiv.org/abs/1805.09767
    """

    inner: InnerOptimiser
    shift: float
    averages: ClassVar[bool] = True
    batched_fields: ClassVar[tuple[str, ...]] = ("shift",)

    def __post_init__(self) -> None:
        """Raise ValueError unless shift is finite and >= 0."""
        advice = "; the theorem asks for one above 16 kappa and above the period"
        check_number("average_shift", self.shift, advice, least=0)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The inner optimiser's requirements, equal steps and equal weights of all clients."""
        equal = {Guarantee.FULL_PARTICIPATION, Guarantee.EQUAL_STEPS, Guarantee.EQUAL_WEIGHTS}
        return self.inner.requires | equal

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that the inner optimiser breaks."""
        return self.inner.breaks

    def bind(self, spec: ParamSpec) -> "WeightedIterate":
        return replace(self, inner=self.inner.bind(spec))

    def init(self, x: Tensor) -> IterateState:
        return IterateState(self.inner.init(x), x, x.new_zeros(()), x.new_zeros(()))

    def control(self, x: Tensor) -> Tree:
        return self.inner.control(x)

    def begin(self, state: IterateState, control: Tree) -> IterateState:
        return state._replace(inner=self.inner.begin(state.inner, control))

    def rates(self, round_index: int, first_step: int, steps: int) -> NDArray[float64]:
        return self.inner.rates(round_index, first_step, steps)

    def effective(self, rates: Tensor) -> Tensor:
        return self.inner.effective(rates)

    def step(
        self, x: Tensor, direction: Tensor, state: IterateState, lr: Tensor
    ) -> tuple[Tensor, IterateState]:
        after, inner = self.inner.step(x, direction, state.inner, lr)
        added = (self.shift + state.taken) ** 2
        weight = state.weight + added
        # The weight is 0 only at step 0 with shift 0, when there is no mean yet.
        share = torch.where(weight > 0, added / torch.where(weight > 0, weight, 1.0), 1.0)
        mean = state.mean + share * (x - state.mean)
        return after, IterateState(inner, mean, weight, state.taken + 1)

    def output(self, state: IterateState, x: Tensor) -> Tensor:
        return state.mean

    def report(self, state: IterateState) -> Tree:
        return self.inner.report(state.inner)

    def combine(self, control: Tree, reports: Tree, info: Round) -> Tree:
        return self.inner.combine(control, reports, info)
