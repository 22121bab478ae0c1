"""Error reset: a periodic second message with the accumulated compression error."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots.compress.base import Compressor, Field, OptionalField
from fedlocal.slots.compress.contractive import has_error_feedback
from fedlocal.slots.guarantees import Guarantee
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree, select, tree_map


class ResetState(NamedTuple):
    """State of `ErrorReset`.

    error: e_i, the change that has not been sent, [P].
    exchanges: Number of exchanges since the last reset, [].
    step, reset: States of the two compressors.
    """

    error: Tensor
    exchanges: Tensor
    step: Tree
    reset: Tree


class ResetMessage(NamedTuple):
    """Message of `ErrorReset`.

    step: C_2 of the change.
    reset: C_1 of the error, at every `period`-th exchange.
    """

    step: Tree
    reset: OptionalField


@dataclass(frozen=True)
class ErrorReset(Compressor):
    """Error reset: send C_2(v), and at every `period`-th exchange also C_1 of the error."""

    step: Compressor
    reset: Compressor
    period: int

    def __post_init__(self) -> None:
        """Raise ValueError for a period below 1, or a compressor with error feedback."""
        if self.period != int(self.period) or self.period < 1:
            raise ValueError(
                f"reset_period must be a whole number of exchanges >= 1, got {self.period}"
            )
        for each in (self.step, self.reset):
            if has_error_feedback(each):
                raise ValueError(
                    f"CSER keeps the error itself, got {each}; give it the compressor without"
                    " error feedback (uplink.error_feedback=false)"
                )

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A fresh belief: a belief across rounds would contain the error already."""
        return frozenset({Guarantee.FRESH_BELIEF})

    @property
    def lossless(self) -> bool:
        """Whether C_2 is lossless, so that there is no error."""
        return self.step.lossless

    def bind(self, spec: ParamSpec) -> "ErrorReset":
        return replace(self, step=self.step.bind(spec), reset=self.reset.bind(spec))

    def init(self, x: Tensor) -> ResetState:
        zero = torch.zeros_like(x)
        return ResetState(zero, x.new_zeros(()), self.step.init(x), self.reset.init(x))

    def noise_size(self, size: int) -> int:
        return self.step.noise_size(size) + self.reset.noise_size(size)

    def encode(self, v: Tensor, state: ResetState, noise: Tensor) -> tuple[ResetMessage, Tree]:
        first, second = self._split(noise, v.shape[0])
        step, step_state = self.step.encode(v, state.step, first)
        owed = state.error + (v - self.step.decode(step, first, v.shape[0]))
        body, reset_state = self.reset.encode(owed, state.reset, second)
        left = owed - self.reset.decode(body, second, v.shape[0])
        exchanges = state.exchanges + 1
        due = exchanges == self.period
        body = select(due, body, tree_map(torch.zeros_like, body))
        after = (left, torch.zeros_like(exchanges), step_state, reset_state)
        before = (owed, exchanges, step_state, state.reset)
        message = ResetMessage(step, OptionalField(due.long().unsqueeze(0), body))
        return message, ResetState(*select(due, after, before))

    def decode(self, message: ResetMessage, noise: Tensor, size: int) -> Tensor:
        first, second = self._split(noise, size)
        reset = self.reset.decode(message.reset.body, second, size)
        flag = message.reset.flag > 0
        return self.step.decode(message.step, first, size) + torch.where(flag, reset, 0.0)

    def layout(self, size: int) -> ResetMessage:
        reset = OptionalField(Field(1, bits=1), self.reset.layout(size))
        return ResetMessage(self.step.layout(size), reset)

    def _split(self, noise: Tensor, size: int) -> tuple[Tensor, ...]:
        return torch.split(noise, [self.step.noise_size(size), self.reset.noise_size(size)])
