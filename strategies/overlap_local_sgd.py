"""Overlap Local-SGD: clients are pulled to an anchor whose averaging travels while they compute.

Nobody waits for the mean of the models. At a synchronisation every client moves a share of the way
to the mean of one synchronisation ago, which has arrived in the meantime, and the next mean is
started; so communication is hidden behind computation as long as it is the shorter of the two.

    Wang, Liang, Joshi. Overlap Local-SGD: An Algorithmic Approach to Hide Communication Delays in
    Distributed SGD. 2020. https://arxiv.org/abs/2002.09539

Symbol -> name here: alpha -> alpha, beta -> momentum (of the anchor), z -> anchor, v -> velocity,
tau -> period, x_i after its local steps -> own. Local momentum has names of its own.

A message tells of the model that a round starts from, x_i after the pull, so it may leave at once.
Differences: the first message goes out before the first local step and tells of x_0, which moves
nothing. The velocity is in model units, as the paper's rule is written; the authors' code keeps it
in units of gradients, which is the same until the step size changes, and its first synchronisation
comes one step late. Messages carry what the server does not know yet of a model, so a lossy uplink
needs no error feedback, which would add twice what was left out, and is refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import Compressor, Period, Rate, Round, Timing
from fedlocal.slots.compress.base import Identity
from fedlocal.slots.inner.sgd import check_momentum, sgd
from fedlocal.slots.mixing import OwnModels
from fedlocal.slots.mixing.gossip import gossip_link
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class OwnAndBelief(NamedTuple):
    """own: x_i at the end of the last round, before the pull, [P]. belief: x_i as told, [P]."""

    own: Tensor
    belief: Tensor


class AnchorState(NamedTuple):
    """beliefs: x_i of every client as told, [K, P]. velocity: v, [P]."""

    beliefs: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class LateAnchor(OwnModels):
    """x_i <- (1 - alpha) x_i + alpha z; v <- beta v + (mean - z), z <- z + v, one round late."""

    alpha: float
    momentum: float

    def __post_init__(self) -> None:
        """Refuse what pulls beyond the anchor or diverges."""
        check_momentum("momentum (of the anchor)", self.momentum)
        check_number("alpha", self.alpha)
        if not 0 <= self.alpha <= 1:
            raise ValueError(
                f"alpha must be in [0, 1], got {self.alpha}; the paper uses 0.6, 0 never meets and"
                " 1 never leaves the start"
            )

    def memory(self, x: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, x)

    def init(self, x: Tensor, num_clients: int) -> AnchorState:
        return AnchorState(x.repeat(num_clients, 1), torch.zeros_like(x))

    def begin(self, memory: OwnAndBelief, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return (1 - self.alpha) * memory.own + self.alpha * incoming, memory.belief

    def told(self, start: Tensor, x: Tensor) -> Tensor:
        return start

    def end(self, memory: OwnAndBelief, x: Tensor, belief: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, belief)

    def mix(
        self, state: AnchorState, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, AnchorState]:
        beliefs = state.beliefs.index_add(0, clients, received)
        velocity = self.momentum * state.velocity + (beliefs.mean(0) - anchor[0])
        return velocity.unsqueeze(0), AnchorState(beliefs, velocity)


def overlap_local_sgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    alpha: float = 0.6,
    momentum: float = 0.0,
    local_momentum: float = 0.0,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    uplink: Compressor = Identity(),
) -> Strategy:
    """Overlap Local-SGD with `period` local steps per round; `momentum` is the anchor's."""
    return Strategy(
        inner=sgd(lr, "keep", local_momentum, nesterov and local_momentum != 0, weight_decay),
        period=period_of(period),
        uplink=gossip_link(uplink),
        mixing=LateAnchor(alpha, momentum),
        timing=Timing.OVERLAPPED,
    )
