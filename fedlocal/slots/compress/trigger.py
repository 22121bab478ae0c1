"""Event-triggered messages: a client that has hardly moved says so in a byte, and sends nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field, OptionalField
from fedlocal.slots.compress.contractive import remembers
from fedlocal.utils.checks import check_number
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree, select, tree_map


class TriggerState(NamedTuple):
    """What decides, and what the compressor keeps.

    steps: t, local steps taken so far, []. lr: eta_t, mean step size of the last round, [].
    inner: The compressor's state; it changes only with a message.
    """

    steps: Tensor
    lr: Tensor
    inner: Tree


@dataclass(frozen=True)
class Triggered(Compressor):
    """Send C(v) if |v|^2 > c_t eta_t^2, where c_t = threshold t^exponent; else one flag.

    For the uplink: only clients take steps, and what was not sent must come again, because the
    receiver's belief or a residual outside (`ErrorFeedback(Triggered(...))`) remembers it.
    Threshold 0 sends whenever there is anything to send; infinity never does.

    Reference: Singh et al. SPARQ-SGD. 2019. https://arxiv.org/abs/1910.14280
    """

    compressor: Compressor
    threshold: float
    exponent: float = 0.0
    batched_fields: ClassVar[tuple[str, ...]] = ("threshold", "exponent")

    def __post_init__(self) -> None:
        """Refuse thresholds that the analysis excludes, and what would be lost in silence."""
        check_number("threshold", self.threshold)
        check_number("exponent", self.exponent)
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be >= 0, got {self.threshold}; 0 sends always")
        if not 0 <= self.exponent < 1:
            raise ValueError(
                f"exponent of the threshold must be in [0, 1), got {self.exponent}; 0 is constant"
            )
        if remembers(self.compressor):
            raise ValueError(
                "error feedback inside a trigger would forget what is not sent, got"
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
        # Of what is sent: what is around scales that. Silence loses everything, and waits.
        return self.compressor.variance(size)

    def encode(self, v: Tensor, state: TriggerState, noise: Tensor) -> tuple[OptionalField, Tree]:
        bound = self.threshold * state.steps**self.exponent * state.lr**2
        # A bound of infinity times 0 is no number, which is not passed either.
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
