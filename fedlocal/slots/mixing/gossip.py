"""Gossip with compressed messages: neighbours hold beliefs of each other's models and mix those.

A node sends the compressed difference between its model and its neighbours' belief of it, and both
sides add the message to the belief. The error of a message is part of the next difference, so no
residual is needed.

    Koloskova, Stich, Jaggi. Decentralized Stochastic Optimization and Gossip Algorithms with
    Compressed Communication. ICML 2019. https://arxiv.org/abs/1902.00340
    Koloskova, Lin, Stich, Jaggi. Decentralized Deep Learning with Arbitrary Communication
    Compression. ICLR 2020. https://arxiv.org/abs/1907.09356
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.compress import Contractive, has_error_feedback
from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.guarantees import Round
from fedlocal.slots.mixing.gossip_step import GossipStep, SafeStep
from fedlocal.slots.mixing.graph import check_graph, describe
from fedlocal.slots.mixing.graph_kinds import Graph
from fedlocal.slots.mixing.own_models import OwnModels
from fedlocal.vectors.flat import ParamSpec

Order = Literal["compress_first", "mix_first"]


class OwnAndBelief(NamedTuple):
    """A client's memory between rounds.

    own: x_i after its last local steps, [P].
    belief: x-hat_i, the neighbours' belief of x_i, [P].
    """

    own: Tensor
    belief: Tensor


class Beliefs(NamedTuple):
    """State of `CompressedGossip`.

    beliefs: x-hat_i of every node, [K, P].
    """

    beliefs: Tensor


@dataclass(frozen=True)
class CompressedGossip(OwnModels):
    """Gossip on beliefs that start at 0: x_i <- x_i + gamma sum_j w_ij (x-hat_j - x-hat_i).

    Attributes:
        graph: Communication graph, the same in every round.
        step: gamma, or a rule for it.
        order: "compress_first" encodes the models after the local steps, and mixes them at once.
            "mix_first" encodes the models before the local steps, so that communication may
            overlap with them, and takes gradients at the mixed models.
    """

    graph: Graph
    step: float | SafeStep
    order: Order = "compress_first"
    batched_fields: ClassVar[tuple[str, ...]] = ("step",)

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown order or a step outside (0, 1]."""
        if self.order not in get_args(Order):
            raise ValueError(f"order must be compress_first or mix_first, got {self.order!r}")
        if isinstance(self.step, str) or not (
            isinstance(self.step, SafeStep) or 0 < self.step <= 1
        ):
            raise ValueError(
                f"gossip_step must be in (0, 1], or theory, got {self.step}; 1 mixes fully, and"
                " stronger compression needs a smaller step"
            )

    def bind(self, spec: ParamSpec) -> "CompressedGossip":
        step = self.step.bind(spec) if isinstance(self.step, SafeStep) else self.step
        return replace(self, step=step)

    def describe(self, num_clients: int) -> str:
        return f"{describe(self.graph, num_clients)}, gossip step {self._step(num_clients):.3g}"

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_]:
        return self.graph.links(round_index, num_clients)

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        # A row is a node's next pull: gamma (sum_j w_ij x-hat_j - x-hat_i).
        return torch.zeros_like(x).repeat(num_clients, 1)

    def memory(self, x: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, torch.zeros_like(x))

    def init(self, x: Tensor, num_clients: int) -> Beliefs:
        check_graph(self.graph, num_clients, symmetric=True, nonnegative=True)
        if self.graph.rounds(num_clients) > 1:
            raise ValueError(
                f"graph={self.graph} changes from round to round, and a node that misses a"
                " neighbour's message has a wrong belief; use a constant graph, such as ring or"
                " torus"
            )
        return Beliefs(torch.zeros_like(x).repeat(num_clients, 1))

    def begin(self, memory: OwnAndBelief, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return memory.own + incoming, memory.belief

    def transmitted_model(self, start: Tensor, x: Tensor) -> Tensor:
        return start if self.order == "mix_first" else x

    def end(self, memory: OwnAndBelief, x: Tensor, belief: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, belief)

    def mix(
        self, state: Beliefs, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Beliefs]:
        beliefs = state.beliefs.index_add(0, clients, received)
        num_clients = len(beliefs)
        matrix = self.graph.matrix(info.round_index, num_clients) - np.eye(num_clients)
        pull = torch.from_numpy(self._step(num_clients) * matrix).to(beliefs) @ beliefs
        return pull - anchor, Beliefs(beliefs)

    def _step(self, num_clients: int) -> float:
        if isinstance(self.step, SafeStep):
            return self.step.gamma_on(self.graph, num_clients)
        return self.step


def gossip_step_of(
    step: GossipStep, rule: type[SafeStep], compressor: Compressor
) -> float | SafeStep:
    """Return gamma, or the theorem's rule for this compressor if step is "theory"."""
    return rule(compressor) if step == "theory" else step


def gossip_link(compressor: Compressor) -> Contractive:
    """Return the compressor in the contractive form that gossip uses.

    Raises:
        ValueError: The compressor has error feedback, which would add an error twice.
    """
    if has_error_feedback(compressor):
        raise ValueError(
            f"gossip needs a compressor without error feedback, got {compressor}: the next"
            " difference contains the error, and a residual would add it twice. Use the inner"
            " compressor, or error_feedback=false"
        )
    return Contractive(compressor)
