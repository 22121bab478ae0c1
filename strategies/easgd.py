"""EASGD: elastic averaging, in which clients and a centre model attract each other.

Every client keeps its own model. At a synchronisation it moves by the share alpha to the centre,
and the centre moves towards the clients' models. Clients may explore different regions without
drifting far apart.

    Zhang, Choromanska, LeCun. Deep learning with Elastic Averaging SGD. 2015.
    https://arxiv.org/abs/1412.6651
    Wang, Joshi. Cooperative SGD. 2018. https://arxiv.org/abs/1808.07576

Paper symbol -> name here: alpha -> alpha, z -> centre, x^i -> own, tau -> period.
Differences from the first paper: the elastic terms are applied after the gradient steps,
(X - lr G) W as in Cooperative SGD, and the centre's beta is K alpha. An exchange uses the centre
that it finds, and its result is first needed one exchange later. So both messages may overlap with
computation and only the clock changes (`timing="overlapped"`). The centre is evaluated under every
timing.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from fedlocal.slots import Guarantee, Mixing, Period, Rate, Round, Timing
from fedlocal.slots.inner.sgd import sgd
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number


class OwnModel(NamedTuple):
    """A client's memory between rounds.

    own: x^i at the end of the last round, before the pull, [P].
    """

    own: Tensor


class ElasticState(NamedTuple):
    """State of `ElasticAveraging`.

    own: Each client's model at its last upload, [K, P].
    centre: z, [P].
    """

    own: Tensor
    centre: Tensor


@dataclass(frozen=True)
class ElasticAveraging(Mixing):
    """Elastic averaging of the clients' models with a centre.

    x^i <- (1 - alpha) x^i + alpha z and z <- (1 - K alpha) z + alpha sum_i x^i, simultaneously.
    """

    alpha: float
    batched_fields: ClassVar[tuple[str, ...]] = ("alpha",)

    def __post_init__(self) -> None:
        """Raise ValueError unless alpha is positive."""
        check_number("alpha", self.alpha, "; 2 / (K + 2) mixes fastest", above=0)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """Return the lossless downlink: server and client both track the client's own model."""
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
        # The anchor is the centre before the last exchange.
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
    """Return elastic averaging with `period` local steps per round; with momentum it is EAMSGD.

    `alpha`, in (0, 2 / (K + 1)), is the share by which a client moves to the centre. `timing` is
    "barrier"; "overlapped" (messages overlap with local steps: same models, shorter rounds); or
    "asynchronous" (each client synchronises when it is done).
    """
    return Strategy(
        inner=sgd(lr, "keep", momentum, nesterov and momentum != 0, weight_decay),
        period=period_of(period),
        mixing=ElasticAveraging(alpha),
        timing=Timing(timing),
    )
