"""Gossip behind a compressor: neighbours hold beliefs of each other's models, and mix those.

A node sends the compressed difference between its model and what its neighbours believe that to be;
both sides add the message to the belief. So what a message leaves out is in the next difference,
and no residual is needed: the belief is the memory.

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

from fedlocal.slots.compress import Contractive, remembers
from fedlocal.slots.compress.base import Compressor
from fedlocal.slots.mixing.gossip_step import GossipStep, SafeStep
from fedlocal.slots.mixing.graph import check_graph, describe
from fedlocal.slots.mixing.kinds import Graph
from fedlocal.slots.mixing.own import OwnModels
from fedlocal.slots.terms import Round
from fedlocal.vectors.flat import ParamSpec

Order = Literal["compress_first", "mix_first"]


class OwnAndBelief(NamedTuple):
    """own: x_i after its last local steps, [P]. belief: x-hat_i, what neighbours believe, [P]."""

    own: Tensor
    belief: Tensor


class Beliefs(NamedTuple):
    """beliefs: x-hat_i of every node, [K, P]."""

    beliefs: Tensor


@dataclass(frozen=True)
class CompressedGossip(OwnModels):
    """x_i <- x_i + gamma sum_j w_ij (x-hat_j - x-hat_i), one row a node, beliefs starting at 0.

    Attributes:
        graph: Who mixes with whom, the same in every round.
        step: gamma, or the rule that gives it.
        order: compress_first: messages tell of the models after the local steps, and are mixed
            into them at once. mix_first: they tell of the models before the local steps, so that
            they may travel meanwhile, and gradients are taken where the mixing led to.
    """

    graph: Graph
    step: float | SafeStep
    order: Order = "compress_first"
    batched_fields: ClassVar[tuple[str, ...]] = ("step",)

    def __post_init__(self) -> None:
        """Refuse what does not gossip."""
        if self.order not in get_args(Order):
            raise ValueError(f"order must be compress_first or mix_first, got {self.order!r}")
        if isinstance(self.step, str) or not (
            isinstance(self.step, SafeStep) or 0 < self.step <= 1
        ):
            raise ValueError(
                f"gossip_step must be in (0, 1], or theory, got {self.step}; 1 mixes fully, the"
                " more a compressor leaves out the smaller it must be"
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
                f"graph={self.graph} changes from round to round, and a node that hears only"
                " some of a neighbour's messages no longer shares its belief; use a graph that"
                " stays, such as ring or torus"
            )
        return Beliefs(torch.zeros_like(x).repeat(num_clients, 1))

    def begin(self, memory: OwnAndBelief, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return memory.own + incoming, memory.belief

    def told(self, start: Tensor, x: Tensor) -> Tensor:
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
            return self.step.on(self.graph, num_clients)
        return self.step


def gossip_step_of(
    step: GossipStep, rule: type[SafeStep], compressor: Compressor
) -> float | SafeStep:
    """Gamma as given, or the rule of a theorem for this compressor."""
    return rule(compressor) if step == "theory" else step


def gossip_link(compressor: Compressor) -> Contractive:
    """The compressor as gossip uses it.

    Raises:
        ValueError: It has error feedback, which would add what was left out a second time.
    """
    if remembers(compressor):
        raise ValueError(
            f"gossip needs a compressor without error feedback, got {compressor}: the belief"
            " remembers what was not sent, and a residual would add it twice. Use the compressor"
            " inside, or error_feedback=false"
        )
    return Contractive(compressor)
