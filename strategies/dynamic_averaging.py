"""Dynamic averaging: look every `period` steps, average only if somebody has gone too far.

Every client compares its model with the last average, by itself. As long as all are near, only a
yes or no travels. The first that is farther than the threshold makes everybody send its model, and
all go on from the new average.

    Kamp, Adilova, Sicking, Hüger, Schlicht, Wirtz, Wrobel. Efficient Decentralized Deep Learning
    by Dynamic Model Averaging. 2018. https://arxiv.org/abs/1807.03210

Symbol -> name here: b -> period, Delta -> threshold, r -> reference, |f - r|^2 > Delta -> alarm.

Difference from the paper: an alarm always averages all models; the paper first tries to balance
some of them. The server half of this simulation sees every model in every round and decides for the
clients; bytes are those of the protocol: a word from everyone who is near, a model from everyone
else, and in a round with an alarm a request to those who are near, and their models. That second
exchange does not fit into a round of Flower's, where it is refused; the simulated clock counts its
bytes, but no latency of its own.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.slots import Guarantee, Legs, Period, Rate, Round
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import OwnModels
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class DynamicState(NamedTuple):
    """What the server knows.

    reference: r, the last average, [P]. alarms: 1 for each client that was too far from it at the
    last look, [K]. averaged: Whether that look ended with an average, 0 or 1, [].
    """

    reference: Tensor
    alarms: Tensor
    averaged: Tensor


@dataclass(frozen=True)
class AverageOnAlarm(OwnModels):
    """Everybody's model becomes the mean if |x_i - r|^2 > threshold for anybody, else stays."""

    threshold: float
    polls: ClassVar[bool] = True
    batched_fields: ClassVar[tuple[str, ...]] = ("threshold",)

    def __post_init__(self) -> None:
        """Refuse what is no bound."""
        check_number("threshold", self.threshold)
        if not self.threshold >= 0:
            raise ValueError(
                f"threshold must be >= 0, got {self.threshold}; 0 averages always, inf never"
            )

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Models are sent as they are or not at all."""
        return super().requires | {Guarantee.LOSSLESS_UPLINK}

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> DynamicState:
        # The first model is everybody's, as after an average.
        return DynamicState(x, x.new_zeros(num_clients), x.new_ones(()))

    def legs(self, before: DynamicState, after: DynamicState) -> Legs:
        near = 1 - after.alarms.long().cpu().numpy()
        averaged, just_averaged = int(after.averaged), int(before.averaged)
        return Legs(
            words_up=near,
            models_up=np.full_like(near, averaged),
            words_down=1 - just_averaged + averaged * near,
            models_down=np.full_like(near, just_averaged),
        )

    def mix(
        self, state: DynamicState, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, DynamicState]:
        models = anchor.index_add(0, clients, received)
        alarms = ((models - state.reference) ** 2).sum(1) > self.threshold
        averaged, mean = alarms.any(), models.mean(0)
        move = torch.where(averaged, mean, models) - anchor
        reference = torch.where(averaged, mean, state.reference)
        return move, DynamicState(reference, alarms.to(anchor), averaged.to(anchor))


def dynamic_averaging(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    threshold: float = 0.3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Local SGD that looks every `period` local steps whether to average."""
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=AverageOnAlarm(threshold),
    )
