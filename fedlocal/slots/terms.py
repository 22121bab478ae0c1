"""What pieces rely on, and what they are told of a round."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from torch import Tensor

from fedlocal.vectors.trees import Tree


class Guarantee(Enum):
    """What a piece may rely on. The value says it in words, for the error message."""

    PLAIN_MEAN = "the next anchor is the weighted mean of the clients' models"
    FRESH_BELIEF = "the server's belief of a client begins every round at what it sent the client"
    LOSSLESS_UPLINK = "what a client sends is read exactly"
    LOSSLESS_DOWNLINK = "every client receives the anchor exactly"
    EQUAL_STEPS = "all clients take the same number of local steps in a round"
    FULL_PARTICIPATION = "every client takes part in every round"
    AVERAGING_SERVER = "a server averages the models of clients that all start from one anchor"
    BARRIER = "a round begins when the one before is finished"
    EQUAL_WEIGHTS = "all members count alike in the mean"
    LINEAR_STEPS = "local steps add up known multiples of their directions"
    EQUAL_BUFFERS = "clients' buffers are equal when a round begins (buffers=reset or average)"
    FRESH_BUFFERS = "clients' buffers begin every round at zero (buffers=reset)"


class Timing(Enum):
    """When what a client sent is applied.

    BARRIER: Computation and communication take turns.
    OVERLAPPED: What is received was known one round ago, so that messages travel while clients
        compute.
    ASYNCHRONOUS: On arrival; nobody waits for anybody.
    """

    BARRIER = "barrier"
    OVERLAPPED = "overlapped"
    ASYNCHRONOUS = "asynchronous"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"timing must be one of {', '.join(t.value for t in cls)}, got {value!r}")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that do not hold: an asynchronous cohort is whoever arrives."""
        if self is not Timing.ASYNCHRONOUS:
            return frozenset()
        return frozenset({Guarantee.BARRIER, Guarantee.FULL_PARTICIPATION})


class Round(NamedTuple):
    """What the server half may know of a round.

    round_index: Counted from 0; of an asynchronous strategy, the exchange.
    read: The models that the members had received, [S, P].
    weights: Of the cohort's members, sum to 1, [S].
    fraction: S / K, the share of all clients that took part.
    lr: Mean local step size that was applied in the round, [].
    steps: Local steps of each member, [S].
    step_sums: How far a constant direction of 1 carried each member, [S]: for SGD the sum of its
        step sizes, with momentum `InnerOptimiser.effective`'s.
    """

    round_index: int
    read: Tensor
    weights: Tensor
    fraction: float
    lr: Tensor
    steps: Tensor
    step_sums: Tensor


class View(NamedTuple):
    """What a correction may look at in one client's round.

    start: The model this client began the round with, [P].
    control: The server half's broadcast.
    gradient: Gradient at another point [P], on the step's mini-batch.
    """

    start: Tensor
    control: Tree
    gradient: Callable[[Tensor], Tensor]
