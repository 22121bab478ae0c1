"""Overlap Local-SGD: clients are pulled to an anchor model that is averaged while they compute.

At a synchronisation every client moves by the share alpha towards the mean of one synchronisation
ago, which has arrived in the meantime, and the next averaging starts. Communication is hidden
behind computation as long as it takes less time.

    Wang, Liang, Joshi. Overlap Local-SGD: An Algorithmic Approach to Hide Communication Delays in
    Distributed SGD. 2020. https://arxiv.org/abs/2002.09539

Paper symbol -> name here: alpha -> alpha, beta -> momentum (of the anchor), z -> anchor,
v -> velocity, tau -> period, x_i after its local steps -> own. The clients' momentum is
`local_momentum`.

A message encodes the model at the round's start, x_i after the pull, so it can leave at once.
Differences from the paper: the first message leaves before the first local step; it encodes x_0 and
moves nothing. The velocity is in model units, as in the paper's rule. The authors' code keeps it in
gradient units, which is the same until the step size changes, and its first synchronisation comes
one step later. Messages encode the difference between a model and the server's belief of it, so a
lossy uplink needs no error feedback; feedback would add the error twice and is refused.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

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
    """A client's memory between rounds.

    own: x_i at the end of the last round, before the pull, [P].
    belief: The server's belief of x_i, [P].
    """

    own: Tensor
    belief: Tensor


class AnchorState(NamedTuple):
    """State of `LateAnchor`.

    beliefs: The server's beliefs of all x_i, [K, P].
    velocity: v, [P].
    """

    beliefs: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class LateAnchor(OwnModels):
    """A pull to an anchor z that is one round old.

    x_i <- (1 - alpha) x_i + alpha z; v <- beta v + (mean - z), z <- z + v.
    """

    alpha: float
    momentum: float
    batched_fields: ClassVar[tuple[str, ...]] = ("alpha", "momentum")

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 <= alpha <= 1 and 0 <= momentum < 1."""
        check_momentum("momentum (of the anchor)", self.momentum)
        check_number("alpha", self.alpha)
        if not 0 <= self.alpha <= 1:
            raise ValueError(
                f"alpha must be in [0, 1], got {self.alpha}; the paper uses 0.6, 0 never averages"
                " and 1 discards the local steps"
            )

    def memory(self, x: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, x)

    def init(self, x: Tensor, num_clients: int) -> AnchorState:
        return AnchorState(x.repeat(num_clients, 1), torch.zeros_like(x))

    def begin(self, memory: OwnAndBelief, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return (1 - self.alpha) * memory.own + self.alpha * incoming, memory.belief

    def transmitted_model(self, start: Tensor, x: Tensor) -> Tensor:
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
    """Return Overlap Local-SGD with `period` local steps per round.

    `alpha`, in [0, 1], is the share of the pull to the anchor; `momentum` is the anchor's.
    """
    return Strategy(
        inner=sgd(lr, "keep", local_momentum, nesterov and local_momentum != 0, weight_decay),
        period=period_of(period),
        uplink=gossip_link(uplink),
        mixing=LateAnchor(alpha, momentum),
        timing=Timing.OVERLAPPED,
    )
