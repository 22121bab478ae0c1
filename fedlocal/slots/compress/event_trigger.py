"""Event-triggered messages: a client that has moved little sends one flag."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field, OptionalField
from fedlocal.slots.compress.contractive import has_error_feedback
from fedlocal.utils.checks import check_number
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree, select, tree_map


class TriggerState(NamedTuple):
    """State of `Triggered`.

    steps: t, local steps so far, [].
    lr: eta_t, mean step size of the last round, [].
    inner: State of the compressor; it changes only with a message.
    """

    steps: Tensor
    lr: Tensor
    inner: Tree


@dataclass(frozen=True)
class Triggered(Compressor):
    """Event trigger: send C(v) if |v|^2 > c_t eta_t^2, c_t = threshold t^exponent, else a flag.

    It is for the uplink, since only clients take steps. An unsent change must be sent later: the
    receiver's belief or an outer residual (`ErrorFeedback(Triggered(...))`) must keep it.
    Threshold 0 sends every nonzero change; infinity sends none.

    Reference: Singh et al. SPARQ-SGD. 2019. https://arxiv.org/abs/1910.14280
    """

    compressor: Compressor
    threshold: float
    exponent: float = 0.0
    batched_fields: ClassVar[tuple[str, ...]] = ("threshold", "exponent")

    def __post_init__(self) -> None:
        """Raise ValueError for values outside their range, or inner error feedback."""
        check_number("threshold", self.threshold, "; 0 sends always", least=0, infinite=True)
        check_number("exponent", self.exponent)
        if not 0 <= self.exponent < 1:
            raise ValueError(
                f"exponent of the threshold must be in [0, 1), got {self.exponent}; 0 is constant"
            )
        if has_error_feedback(self.compressor):
            raise ValueError(
                "error feedback inside a trigger would lose unsent changes, got"
                f" {self.compressor}; use ErrorFeedback(Triggered(...))"
            )

    def bind(self, spec: ParamSpec) -> "Triggered":
        return replace(self, compressor=self.compressor.bind(spec))

    def init(self, x: Tensor) -> TriggerState:
        return TriggerState(x.new_zeros(()), x.new_zeros(()), self.compressor.init(x))

    def observe(self, state: TriggerState, steps: Tensor, step_sum: Tensor) -> TriggerState:
        inner = self.compressor.observe(state.inner, steps, step_sum)
        return TriggerState(state.steps + steps, step_sum / steps, inner)

    def noise_size(self, size: int) -> int:
        return self.compressor.noise_size(size)

    def variance(self, size: int) -> float:
        # The variance of sent messages, by which outer compressors scale.
        return self.compressor.variance(size)

    def encode(self, v: Tensor, state: TriggerState, noise: Tensor) -> tuple[OptionalField, Tree]:
        bound = self.threshold * state.steps**self.exponent * state.lr**2
        # inf * 0 is NaN, for which the comparison is false as well.
        sends = v @ v > bound
        body, inner = self.compressor.encode(v, state.inner, noise)
        message = select(sends, body, tree_map(torch.zeros_like, body))
        flag = sends.long().unsqueeze(0)
        return OptionalField(flag, message), state._replace(inner=select(sends, inner, state.inner))

    def decode(self, message: OptionalField, noise: Tensor, size: int) -> Tensor:
        arrived = self.compressor.decode(message.body, noise, size)
        return torch.where(message.flag > 0, arrived, 0.0)

    def layout(self, size: int) -> OptionalField:
        return OptionalField(Field(1, bits=1), self.compressor.layout(size))
