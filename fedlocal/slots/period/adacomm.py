"""A period that adapts to the training loss."""

from dataclasses import dataclass
from math import ceil, isclose, isfinite, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlocal.slots.period.base import Period
from fedlocal.slots.period.schedules import check_period
from fedlocal.utils.checks import check_number


class Block(NamedTuple):
    """State of `AdaComm`; before the first loss only the period is set.

    period: tau_l.
    start: Round or second in which the block started.
    loss, lr: F and eta of the first round.
    lr_at_choice: eta when tau_l was chosen.
    """

    period: int
    start: float = 0.0
    loss: float = 0.0
    lr: float = 0.0
    lr_at_choice: float = 0.0


@dataclass(frozen=True)
class AdaComm(Period):
    """AdaComm's period: tau_l = ceil(sqrt((eta_0 / eta_l)^p F_l / F_0) tau_0) in block l.

    If that is not below tau_{l-1}, tau_l = ceil(gamma tau_{l-1}), unless the step size has
    changed, which may lengthen the period. The first round measures F_0; blocks count from its end.

    Reference: Wang, Joshi. Adaptive Communication Strategies to Achieve the Best Error-Runtime
    Trade-off in Local-Update SGD. 2019. https://arxiv.org/abs/1810.08313

    Attributes:
        initial_period: tau_0.
        gamma: Factor of the shrinkage, in (0, 1).
        exponent: p, 1 or 3; 0 ignores the step size.
        block: Minimum length of a block; it ends with the next round that has a loss.
        unit: Unit of `block`, rounds or simulated seconds.
        loss: local_loss, known in every round, or train_loss, known when the run evaluates.
    """

    initial_period: int
    gamma: float = 0.5
    exponent: int = 1
    block: float = 10.0
    unit: Literal["rounds", "seconds"] = "rounds"
    loss: Literal["local_loss", "train_loss"] = "local_loss"

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside its range."""
        check_period("initial_period", self.initial_period)
        check_number("gamma", self.gamma)
        check_number("block", self.block, "; for example block=10", above=0)
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma must be in (0, 1), got {self.gamma}; the paper uses 0.5")
        if self.exponent not in (0, 1, 3):
            raise ValueError(f"exponent must be 0, 1 or 3, got {self.exponent}; 0 ignores lr")
        if self.unit not in ("rounds", "seconds"):
            raise ValueError(f"unit must be rounds or seconds, got {self.unit!r}")
        if self.loss not in ("local_loss", "train_loss"):
            raise ValueError(f"loss must be local_loss or train_loss, got {self.loss!r}")

    @property
    def reads_clock(self) -> bool:
        return self.unit == "seconds"

    @property
    def column(self) -> str:
        return self.loss

    def init(self) -> Block:
        return Block(self.initial_period)

    def steps(
        self, state: Block, round_index: int, epoch: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        return np.full(len(epoch), state.period)

    def observe(self, state: Block, metrics: dict[str, float | None]) -> Block:
        loss, lr = metrics[self.loss], metrics["lr"]
        now = metrics["round" if self.unit == "rounds" else "sim_seconds"]
        if loss is None or lr is None or now is None or not isfinite(loss):
            return state
        if not state.loss:
            return self._first(state, now, loss, lr)
        if now - state.start < self.block:
            return state
        return state._replace(period=self._next(state, loss, lr), start=now, lr_at_choice=lr)

    def _first(self, state: Block, now: float, loss: float, lr: float) -> Block:
        if not loss > 0:
            raise ValueError(
                f"AdaComm divides losses by the first, which must be positive, got {loss};"
                " use a positive loss, or another period"
            )
        return Block(state.period, now, loss, lr, lr)

    def _next(self, state: Block, loss: float, lr: float) -> int:
        ratio = (state.lr / lr) ** self.exponent * max(loss, 0.0) / state.loss
        period = ceil(sqrt(ratio) * self.initial_period)
        same_lr = self.exponent == 0 or isclose(lr, state.lr_at_choice)
        if period >= state.period and same_lr:
            period = ceil(self.gamma * state.period)
        return max(1, period)
