"""The slot in which models meet."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.component import Piece
from fedlocal.slots.terms import Guarantee, Round
from fedlocal.vectors.trees import Tree, weighted_mean

Weights = Literal["uniform", "examples"]


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

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """One that takes the mean of models that all started from the anchor says so."""
        return frozenset({Guarantee.PLAIN_MEAN, Guarantee.AVERAGING_SERVER})

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

    def consensus(self, state: Tree, anchor: Tensor) -> Tensor | None:
        """The model to evaluate, [P]; None for the shared anchor or the mean of clients' models.

        Args:
            state: Of the server half, after the last synchronisation.
            anchor: [A, P].
        """
        return None

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
class WeightedMean(Mixing):
    """The mean of the cohort's models, weighted equally or by example count."""

    weights: Weights = "uniform"

    def __post_init__(self) -> None:
        """Refuse an unknown weighing."""
        if self.weights not in ("uniform", "examples"):
            raise ValueError(f"weights must be uniform or examples, got {self.weights!r}")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Nothing else: this is the mean that others rely on."""
        return frozenset() if self.weights == "uniform" else frozenset({Guarantee.EQUAL_WEIGHTS})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        shares = counts if self.weights == "examples" else torch.ones_like(counts)
        return shares / shares.sum()

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        return weighted_mean(received, info.weights).unsqueeze(0), state
