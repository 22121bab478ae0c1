"""Dynamic averaging: models are averaged only if one of them has diverged from the last average.

Every `period` local steps each client compares its model with the last average. If all squared
distances are within the threshold, clients send only a flag. If one exceeds it, all clients send
their models and continue from the new average.

    Kamp, Adilova, Sicking, Hüger, Schlicht, Wirtz, Wrobel. Efficient Decentralized Deep Learning
    by Dynamic Model Averaging. 2018. https://arxiv.org/abs/1807.03210

Paper symbol -> name here: b -> period, Delta -> threshold, r -> reference, |f - r|^2 > Delta ->
alarm.

Difference from the paper: an alarm always averages all models; the paper first tries to balance
a subset. The server half of this simulation sees every model in every round and decides for the
clients. The counted bytes are those of the protocol: a flag from each client within the threshold
and a model from each other one; after an alarm also a request to each client within the threshold,
and its model. Flower's rounds have no such second exchange, so it is refused there. The simulated
clock counts its bytes but no extra latency.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.slots import Guarantee, MessageCounts, Period, Rate, Round
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.mixing import OwnModels
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class DynamicState(NamedTuple):
    """State of `AverageOnAlarm`.

    reference: r, the last average, [P].
    alarms: 1 for each client that exceeded the threshold at the last check, [K].
    averaged: Whether the last check led to an average, 0 or 1, [].
    """

    reference: Tensor
    alarms: Tensor
    averaged: Tensor


@dataclass(frozen=True)
class AverageOnAlarm(OwnModels):
    """Conditional averaging: all models become their mean if |x_i - r|^2 > threshold for any i."""

    threshold: float
    polls: ClassVar[bool] = True
    batched_fields: ClassVar[tuple[str, ...]] = ("threshold",)

    def __post_init__(self) -> None:
        """Raise ValueError if threshold is negative."""
        advice = "; 0 averages always, inf never"
        check_number("threshold", self.threshold, advice, least=0, infinite=True)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the lossless uplink: models are sent exactly or not at all."""
        return super().requires | {Guarantee.LOSSLESS_UPLINK}

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> DynamicState:
        # All clients hold the first model, as after an average.
        return DynamicState(x, x.new_zeros(num_clients), x.new_ones(()))

    def message_counts(self, before: DynamicState, after: DynamicState) -> MessageCounts:
        near = 1 - after.alarms.long().cpu().numpy()
        averaged, just_averaged = int(after.averaged), int(before.averaged)
        return MessageCounts(
            flags_up=near,
            models_up=np.full_like(near, averaged),
            flags_down=1 - just_averaged + averaged * near,
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
    """Return local SGD that decides every `period` local steps whether to average.

    `threshold` bounds the squared distance |x_i - r|^2; 0 averages always, inf never.
    """
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov, weight_decay),
        period=period_of(period),
        mixing=AverageOnAlarm(threshold),
    )
