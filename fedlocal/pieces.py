"""The slots of a round as abstract pieces.

A piece is a frozen dataclass with pure methods. Its state is a tree of tensors (usually a
NamedTuple) that is handed in and out; `()` is "no state". Methods of the client half see one
client, with flat vectors [P]; the vmapped runtime adds the client dimension. So: no `.item()`, no
branch on a tensor's value, no in-place change, no random call.

Who calls what, in which order: `fedlocal/client.py` and `fedlocal/server.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.flat import ParamSpec
from fedlocal.trees import Tree


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
    step_sums: Sum of the step sizes that each member applied, [S].
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


@dataclass(frozen=True)
class Piece(ABC):  # noqa: B024 - nothing is abstract that all slots share
    """Common to all pieces: what it relies on, and what it takes from others."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """The guarantees without which this piece does something else than it says."""
        return frozenset()

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The guarantees that do not hold in a strategy with this piece."""
        return frozenset()

    def bind(self, spec: ParamSpec) -> Self:
        """The same piece, knowing the shapes of the layers."""
        return self


@dataclass(frozen=True)
class Rate(Piece):
    """A learning-rate schedule."""

    @abstractmethod
    def at(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Step sizes of one round, [steps]; `first_step` local steps went before it."""


@dataclass(frozen=True)
class InnerOptimiser(Piece):
    """One local step. The server half (`control`, `report`, `combine`) serves shared buffers.

    averages: Whether `output` is a model of the client's own, and not the one it stands at.
    """

    averages: ClassVar[bool] = False

    @abstractmethod
    def init(self, x: Tensor) -> Tree:
        """Buffers of a client that has not taken part yet; x [P] gives shape and dtype."""

    def control(self, x: Tensor) -> Tree:
        """The first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, control: Tree) -> Tree:
        """Buffers at the start of a round."""
        return state

    @abstractmethod
    def rates(self, round_index: int, first_step: int, steps: int) -> NDArray[np.float64]:
        """Step sizes of one round, [steps]."""

    @abstractmethod
    def step(self, x: Tensor, direction: Tensor, state: Tree, lr: Tensor) -> tuple[Tensor, Tree]:
        """One step from x [P] along `direction` [P]; `lr` is a scalar tensor."""

    def output(self, state: Tree, x: Tensor) -> Tensor:
        """The model to evaluate, [P], of a client that stands at x: an average of iterates, say."""
        return x

    def report(self, state: Tree) -> Tree:
        """What travels up after the round."""
        return ()

    def combine(self, control: Tree, reports: Tree, info: Round) -> Tree:
        """The next broadcast from the cohort's reports, each [S, ...]."""
        return control


@dataclass(frozen=True)
class Correction(Piece):
    """Changes the local direction. May have a server half: a control vector up and down.

    reads_all_data: Whether `begin` is given the gradient over all of the client's examples.
    surveys: Whether a round begins with an exchange of its own, in which the members send the
        gradient over all of their examples at the anchor, for `surveyed`.
    """

    reads_all_data: ClassVar[bool] = False
    surveys: ClassVar[bool] = False

    def init(self, x: Tensor) -> Tree:
        """State of a client that has not taken part yet."""
        return ()

    def control(self, x: Tensor) -> Tree:
        """The first broadcast of the server half."""
        return ()

    def begin(self, state: Tree, start: Tensor, control: Tree, full_gradient: Tree) -> Tree:
        """State for the round.

        Args:
            state: As `end` returned it.
            start: The model that the round starts from, after the pull, [P].
            control: The server half's broadcast.
            full_gradient: At the start, over all of the client's examples, [P]; () unless
                `reads_all_data`.
        """
        return state

    def correct(self, grad: Tensor, x: Tensor, state: Tree, view: View) -> Tensor:
        """The direction to step along at x, given the mini-batch gradient there."""
        return grad

    def end(
        self, state: Tree, start: Tensor, belief: Tensor, step_sum: Tensor, control: Tree
    ) -> tuple[Tree, Tree]:
        """State to keep and report to send.

        Args:
            state: As `begin` returned it.
            start: The model that the round began with, [P].
            belief: What the server now believes this client's model to be, [P]. Not the exact
                model: behind a lossy compressor the server never saw that.
            step_sum: Sum of the step sizes of the round, [].
            control: The server half's broadcast.
        """
        return state, ()

    def surveyed(self, control: Tree, gradients: Tensor, weights: Tensor) -> Tree:
        """The broadcast of the round from its members' gradients [S, P] and weights [S]."""
        return control

    def combine(self, control: Tree, reports: Tree, received: Tensor, info: Round) -> Tree:
        """The next broadcast from the cohort's reports, each [S, ...], and messages [S, P]."""
        return control


@dataclass(frozen=True)
class Sampling(Piece):
    """Who is invited to a round."""

    @abstractmethod
    def cohort(
        self, num_clients: int, participation: float, seed: int, round_index: int
    ) -> NDArray[np.int64]:
        """Ids of the clients of a round, sorted; `participation` is the share asked for."""


@dataclass(frozen=True)
class Period(Piece):
    """How many local steps the clients take in a round."""

    def init(self) -> Tree:
        """State before the first round."""
        return ()

    @abstractmethod
    def steps(self, state: Tree, round_index: int, epoch: NDArray[np.float64]) -> NDArray[np.int64]:
        """Local steps of each cohort member, [S]; `epoch` [S] is its examples / its batch."""

    def observe(self, state: Tree, metrics: dict[str, float | None]) -> Tree:
        """Learn from the finished round's row of metrics."""
        return state


class Field(NamedTuple):
    """One part of a message on the wire.

    bits 0 means floating point in the message's own dtype, otherwise unsigned integers of that
    many bits, packed without gaps.
    """

    length: int
    bits: int = 0


class Optional(NamedTuple):
    """A part of a message, or of its layout, that travels only where its flag is 1.

    flag: In a message 0 or 1, [1]; in a layout `Field(1, bits=1)`.
    body: The part; in a message whose flag is 0, zeros that nobody reads.
    """

    flag: Tree
    body: Tree


@dataclass(frozen=True)
class Compressor(Piece):
    """Encodes a vector [P] into a message and decodes it again, for either direction.

    `noise` [n] are uniforms in [0, 1) that sender and receiver both derive from
    (seed, purpose, client, round); `noise_size` says how many are needed.
    """

    @property
    def lossless(self) -> bool:
        """Whether decode(encode(v)) is always v."""
        return False

    def init(self, x: Tensor) -> Tree:
        """State before the first message; x [P] gives shape and dtype."""
        return ()

    def observe(self, state: Tree, steps: Tensor, step_sum: Tensor) -> Tree:
        """Learn before encoding how many local steps were taken, [], and their sizes' sum, []."""
        return state

    def noise_size(self, size: int) -> int:
        """Number of uniforms for a vector of `size` scalars."""
        return 0

    def variance(self, size: int) -> float:
        """Bound omega with E|C(v) - v|^2 <= omega |v|^2 if unbiased; 0 if biased (or exact)."""
        return 0.0

    @abstractmethod
    def encode(self, v: Tensor, state: Tree, noise: Tensor) -> tuple[Tree, Tree]:
        """The message for v [P], a tree of 1-D tensors, and the next state."""

    @abstractmethod
    def decode(self, message: Tree, noise: Tensor, size: int) -> Tensor:
        """The vector [size] that the receiver reads out of the message."""

    @abstractmethod
    def layout(self, size: int) -> Tree:
        """A `Field` for each tensor of the message, as a tree of the same shape."""


class Legs(NamedTuple):
    """How many messages of each kind a round had, each [K]: a yes or no, or a model [P]."""

    words_up: NDArray[np.int64]
    models_up: NDArray[np.int64]
    words_down: NDArray[np.int64]
    models_down: NDArray[np.int64]


@dataclass(frozen=True)
class Mixing(Piece):
    """How models meet. Server half: messages -> move. Client half: memory and pull.

    The anchor is [A, P]: one row that all clients share, or one row a client.

    polls: Whether it decides in the middle of a round which models are sent. Then more is
        exchanged than `legs` counts, and clients can be in this process only.
    """

    polls: ClassVar[bool] = False

    @property
    def requires(self) -> frozenset[Guarantee]:
        """One that is at ease with whoever arrives says so by leaving this out."""
        return frozenset({Guarantee.BARRIER})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        """Weights [S] that sum to 1, from the cohort's example counts and local steps, [S]."""
        return torch.full_like(counts, 1 / len(counts))

    def describe(self, num_clients: int) -> str:
        """A line that a user should read before a run with so many clients; "" for none."""
        return ""

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_] | None:
        """Who sends to whom, [K, K], row to column; None where clients talk to a server."""
        return None

    def legs(self, before: Tree, after: Tree) -> Legs | None:
        """What a round's messages are where `polls`; else None: what the links encode.

        Args:
            before: State of the server half before `mix`.
            after: State after it.
        """
        return None

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        """The first anchor [A, P] from the initial model x [P]."""
        return x.unsqueeze(0)

    def init(self, x: Tensor, num_clients: int) -> Tree:
        """State of the server half."""
        return ()

    def memory(self, x: Tensor) -> Tree:
        """What a client remembers of its own model between rounds."""
        return ()

    def begin(self, memory: Tree, incoming: Tensor) -> tuple[Tensor, Tensor]:
        """The round's start [P] and the server's belief of this client's model [P]."""
        return incoming, incoming

    def told(self, start: Tensor, x: Tensor) -> Tensor:
        """The model that the message tells of, [P]: the one after the local steps, x."""
        return x

    def end(self, memory: Tree, x: Tensor, belief: Tensor) -> Tree:
        """The next memory, from the client's model and the updated belief."""
        return memory

    @abstractmethod
    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        """How far the anchor should move, [A, P], and the next state.

        Args:
            state: Of the server half.
            anchor: [A, P].
            received: The decoded messages, [S, P]: what to add to the beliefs. Where beliefs
                begin at the anchor a mean of these is the move; adding and subtracting the anchor
                would only lose digits.
            clients: Ids of the cohort, [S].
            info: What the cohort did.
        """


@dataclass(frozen=True)
class OuterOptimiser(Piece):
    """Turns the pseudo-gradient (before - after) into the move of the anchor."""

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A pseudo-gradient is what an averaging server sees."""
        return frozenset({Guarantee.AVERAGING_SERVER})

    def init(self, anchor: Tensor) -> Tree:
        """State before the first round; anchor [A, P]."""
        return ()

    @abstractmethod
    def step(self, pseudo_grad: Tensor, state: Tree, info: Round) -> tuple[Tensor, Tree]:
        """The move to add to the anchor, [A, P], and the next state."""
