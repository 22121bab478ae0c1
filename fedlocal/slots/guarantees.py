"""The guarantees between components, and the information that they receive about a round."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from torch import Tensor

from fedlocal.vectors.trees import Tree


class Guarantee(Enum):
    """A property that a component may require; the value is its text in error messages."""

    PLAIN_MEAN = "the next anchor is the weighted mean of the clients' models"
    FRESH_BELIEF = "the server's belief of a client starts every round at the broadcast model"
    LOSSLESS_UPLINK = "the server reads every upload exactly"
    LOSSLESS_DOWNLINK = "every client receives the anchor exactly"
    EQUAL_STEPS = "all clients take the same number of local steps in a round"
    FULL_PARTICIPATION = "every client takes part in every round"
    AVERAGING_SERVER = "a server averages the models of clients that all start from one anchor"
    BARRIER = "a round begins when the one before is finished"
    EQUAL_WEIGHTS = "all clients have equal weight in the mean"
    LINEAR_STEPS = "each local step is a known multiple of its direction"
    EQUAL_BUFFERS = "clients' buffers are equal when a round begins (buffers=reset or average)"
    FRESH_BUFFERS = "clients' buffers begin every round at zero (buffers=reset)"


class Timing(Enum):
    """The time at which uploads are applied.

    BARRIER: Computation and communication alternate.
    OVERLAPPED: Clients receive the result of the previous round, so that communication overlaps
        with computation.
    ASYNCHRONOUS: Uploads are applied on arrival; no client waits for another.
    """

    BARRIER = "barrier"
    OVERLAPPED = "overlapped"
    ASYNCHRONOUS = "asynchronous"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"timing must be one of {', '.join(t.value for t in cls)}, got {value!r}")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that do not hold: an asynchronous cohort is the clients that arrive."""
        if self is not Timing.ASYNCHRONOUS:
            return frozenset()
        return frozenset({Guarantee.BARRIER, Guarantee.FULL_PARTICIPATION})


class Round(NamedTuple):
    """Information about a round for the server half.

    round_index: Index of the round, or of the exchange if asynchronous, counted from 0.
    read: Models that the clients of the cohort received, [S, P].
    weights: Weights of the clients, which sum to 1, [S].
    fraction: S / K, the share of all clients that took part.
    lr: Mean local step size of the round, [].
    steps: Number of local steps of each client, [S].
    step_sums: Distance that a constant direction of 1 moves each client, [S]: for SGD the sum of
        step sizes, with momentum that of `InnerOptimiser.effective`.
    """

    round_index: int
    read: Tensor
    weights: Tensor
    fraction: float
    lr: Tensor
    steps: Tensor
    step_sums: Tensor


class View(NamedTuple):
    """Information about one client's round for a correction.

    start: Model that the client's round started from, [P].
    control: Broadcast of the server half.
    gradient: Function that returns the gradient at another point [P] on the step's mini-batch.
    """

    start: Tensor
    control: Tree
    gradient: Callable[[Tensor], Tensor]
