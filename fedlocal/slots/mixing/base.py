"""The slot of the mixing: the combination of the clients' models."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.component import Component
from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.vectors.trees import Tree, weighted_mean

Weights = Literal["uniform", "examples"]


class MessageCounts(NamedTuple):
    """Numbers of messages of each kind in a round, each [K]: flags (words) and models [P]."""

    flags_up: NDArray[np.int64]
    models_up: NDArray[np.int64]
    flags_down: NDArray[np.int64]
    models_down: NDArray[np.int64]


Legs = MessageCounts  # its former name


@dataclass(frozen=True)
class Mixing(Component):
    """A rule that combines models. Server half: messages -> move. Client half: memory and pull.

    The anchor is [A, P]: one row that all clients share, or one row per client.

    polls: Whether the server decides within a round which models are sent. The simulation then
        exchanges more than `message_counts` counts, and clients must be in this process.
    """

    polls: ClassVar[bool] = False

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A barrier; a mixing that permits asynchronous arrivals overrides this."""
        return frozenset({Guarantee.BARRIER})

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """The plain mean and the averaging server; a mixing that averages overrides this."""
        return frozenset({Guarantee.PLAIN_MEAN, Guarantee.AVERAGING_SERVER})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        """Return weights [S] that sum to 1, from the cohort's example counts and steps, [S]."""
        return torch.full_like(counts, 1 / len(counts))

    def describe(self, num_clients: int) -> str:
        """Return a line of information before a run with `num_clients` clients; "" for none."""
        return ""

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_] | None:
        """Return the links from row to column, [K, K]; None if there is a server."""
        return None

    def message_counts(self, before: Tree, after: Tree) -> MessageCounts | None:
        """Return the message counts of a round if `polls`; else None, and the links are counted.

        Args:
            before: State of the server half before `mix`.
            after: State of the server half after `mix`.
        """
        return None

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        """Return the first anchor [A, P] from the initial model x [P]."""
        return x.unsqueeze(0)

    def init(self, x: Tensor, num_clients: int) -> Tree:
        """Return the first state of the server half."""
        return ()

    def memory(self, x: Tensor) -> Tree:
        """Return a client's first memory of its own model, which it keeps between rounds."""
        return ()

    def begin(self, memory: Tree, incoming: Tensor) -> tuple[Tensor, Tensor]:
        """Return the round's start [P] and the server's belief of this client's model [P]."""
        return incoming, incoming

    def consensus(self, state: Tree, anchor: Tensor) -> Tensor | None:
        """Return the model to evaluate, [P]; None for the anchor or the mean of clients' models.

        Args:
            state: State of the server half after the last synchronisation.
            anchor: Anchor, [A, P].
        """
        return None

    def transmitted_model(self, start: Tensor, x: Tensor) -> Tensor:
        """Return the model that the upload encodes, [P]; by default x, after the local steps."""
        return x

    def end(self, memory: Tree, x: Tensor, belief: Tensor) -> Tree:
        """Return the next memory from the client's model and the updated belief."""
        return memory

    @abstractmethod
    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        """Return the move of the anchor, [A, P], and the next state.

        Args:
            state: State of the server half.
            anchor: Anchor, [A, P].
            received: Decoded messages, [S, P], the changes of the beliefs. If beliefs start at the
                anchor, a mean of these is the move; adding the anchor would only lose digits.
            clients: Ids of the cohort, [S].
            info: Information about the round.
        """


@dataclass(frozen=True)
class WeightedMean(Mixing):
    """The mean of the cohort's models, weighted equally or by example count."""

    weights: Weights = "uniform"

    def __post_init__(self) -> None:
        """Raise ValueError unless weights is uniform or examples."""
        if self.weights not in ("uniform", "examples"):
            raise ValueError(f"weights must be uniform or examples, got {self.weights!r}")

    @property
    def breaks(self) -> frozenset[Guarantee]:
        """Equal weights if weighted by examples, else nothing."""
        return frozenset() if self.weights == "uniform" else frozenset({Guarantee.EQUAL_WEIGHTS})

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        shares = counts if self.weights == "examples" else torch.ones_like(counts)
        return shares / shares.sum()

    def mix(
        self, state: Tree, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Tree]:
        return weighted_mean(received, info.weights).unsqueeze(0), state
