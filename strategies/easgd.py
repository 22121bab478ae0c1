"""EASGD: clients and a centre pulled towards each other, instead of made equal.

Every client keeps its own model. At a synchronisation it moves a share of the way to the centre,
and the centre moves towards the clients, so that clients may explore and still stay together.

    Zhang, Choromanska, LeCun. Deep learning with Elastic Averaging SGD. 2015.
    https://arxiv.org/abs/1412.6651
    Wang, Joshi. Cooperative SGD. 2018. https://arxiv.org/abs/1808.07576

Symbol -> name here: alpha -> alpha, z -> centre, x^i -> own, tau -> period.
Differences from the first paper: the elastic terms are taken after the gradient steps, (X - lr G) W
as in Cooperative SGD, and the centre's beta is K alpha. The pull of an exchange uses the centre
from before its own update. So what a client receives was made from models of one exchange earlier,
and what it sends is first needed one exchange later: both may travel while clients compute, and
nothing but the clock would notice (`timing="overlapped"`). The centre is what is evaluated, under
every timing.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fedlocal.slots import Guarantee, Mixing, Period, Rate, Round, Timing
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class OwnModel(NamedTuple):
    """own: x^i at the end of the last round, before the pull, [P]."""

    own: Tensor


class ElasticState(NamedTuple):
    """own: What each client's model was when it last sent, [K, P]. centre: z, [P]."""

    own: Tensor
    centre: Tensor


@dataclass(frozen=True)
class ElasticAveraging(Mixing):
    """x^i <- (1 - alpha) x^i + alpha z and z <- (1 - K alpha) z + alpha sum of x^i, at once."""

    alpha: float

    def __post_init__(self) -> None:
        """Refuse what does not pull."""
        check_number("alpha", self.alpha)
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}; 2 / (K + 2) mixes fastest")

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Both sides follow every client's own model; whoever comes may pull."""
        return frozenset({Guarantee.LOSSLESS_DOWNLINK})

    def memory(self, x: Tensor) -> OwnModel:
        return OwnModel(x)

    def init(self, x: Tensor, num_clients: int) -> ElasticState:
        if self.alpha >= 2 / (num_clients + 1):
            raise ValueError(
                f"alpha must be below 2 / (K + 1) = {2 / (num_clients + 1):.4g} or the centre"
                f" diverges, got {self.alpha}; 2 / (K + 2) mixes fastest"
            )
        return ElasticState(x.repeat(num_clients, 1), x)

    def consensus(self, state: ElasticState, anchor: Tensor) -> Tensor:
        # After the last exchange; the anchor is what that exchange read.
        return state.centre

    def begin(self, memory: OwnModel, incoming: Tensor) -> tuple[Tensor, Tensor]:
        start = memory.own + self.alpha * (incoming - memory.own)
        return start, start

    def end(self, memory: OwnModel, x: Tensor, belief: Tensor) -> OwnModel:
        # The belief and not x: with a lossy uplink both sides must hold the same model.
        return OwnModel(belief)

    def mix(
        self, state: ElasticState, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, ElasticState]:
        before = state.own[clients]
        own = before + self.alpha * (info.read - before) + received
        centre = state.centre + self.alpha * (own - state.centre).sum(0)
        return state.centre - anchor, ElasticState(state.own.index_copy(0, clients, own), centre)


def easgd(
    lr: float | Rate = 0.1,
    period: int | Period = 10,
    alpha: float = 0.2,
    momentum: float = 0.0,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    timing: str = "barrier",
) -> Strategy:
    """Elastic averaging with `period` local steps per round; with momentum it is EAMSGD.

    `timing` is "barrier"; "overlapped", which hides the messages behind the local steps: same
    models, shorter rounds; or "asynchronous", where each client pulls when it is done.
    """
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov and momentum != 0, weight_decay),
        period=period_of(period),
        mixing=ElasticAveraging(alpha),
        timing=Timing(timing),
    )
