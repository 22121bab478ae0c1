"""Cooperative SGD: mixing of models by a matrix, with optional auxiliary nodes.

    Wang, Joshi. Cooperative SGD: A Unified Framework for the Design and Analysis of
    Local-Update SGD Algorithms. 2018. https://arxiv.org/abs/1808.07576

Paper symbol -> name here: W -> graph, v -> auxiliary, X -> anchor and the auxiliary rows, one row
per column of the paper.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.slots.guarantees import Guarantee, Round
from fedlocal.slots.mixing.graph import ROUNDING, check_graph, describe
from fedlocal.slots.mixing.graph_kinds import Graph
from fedlocal.slots.mixing.own_models import OwnModels
from fedlocal.slots.mixing.topology import Matrix
from fedlocal.utils.checks import check_whole

CombineOrder = Literal["adapt_then_combine", "combine_then_adapt"]


class Auxiliary(NamedTuple):
    """State of `Cooperative`.

    models: Auxiliary variables z^1 ... z^v, which take no gradient steps, [v, P].
    """

    models: Tensor


@dataclass(frozen=True)
class Cooperative(OwnModels):
    """Mixing by a matrix: X <- (X - lr G) W^T over the K clients' models and v auxiliary ones.

    Each client has its own anchor row, the model from which it starts the next round. Neighbours do
    not hold that row, so a message counts as a whole model. That is invalid behind a lossy uplink,
    for which there is `CompressedGossip`.

    Attributes:
        graph: Graph of K + v nodes; the last v are the auxiliary variables.
        auxiliary: v, the number of auxiliary variables.
        order: "adapt_then_combine" mixes the models after the local steps. "combine_then_adapt",
            the order of D-PSGD, mixes those before and adds the local steps unmixed.
    """

    graph: Graph
    auxiliary: int = 0
    order: CombineOrder = "adapt_then_combine"

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown order or a negative number of auxiliary variables."""
        if self.order not in get_args(CombineOrder):
            raise ValueError(
                f"order must be {' or '.join(get_args(CombineOrder))}, got {self.order!r}"
            )
        check_whole("auxiliary", self.auxiliary, 0)

    @property
    def requires(self) -> frozenset[Guarantee]:
        """A lossless uplink as well: a delta is useful only to nodes that hold the previous row."""
        return super().requires | {Guarantee.LOSSLESS_UPLINK}

    def describe(self, num_clients: int) -> str:
        line = describe(self.graph, num_clients + self.auxiliary)
        return (
            f"{line}; {self.auxiliary} of them auxiliary, on a server" if self.auxiliary else line
        )

    def links(self, round_index: int, num_clients: int) -> NDArray[np.bool_] | None:
        # Auxiliary variables are held by a server, which then does all of the mixing.
        return None if self.auxiliary else self.graph.links(round_index, num_clients)

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> Auxiliary:
        nodes = num_clients + self.auxiliary
        check_graph(self.graph, nodes, columns=not self.auxiliary)
        _check_equal_influence(self.graph.cycle(nodes), num_clients)
        return Auxiliary(x.repeat(self.auxiliary, 1))

    def consensus(self, state: Auxiliary, anchor: Tensor) -> Tensor:
        # The paper's u, the mean with the auxiliary variables, which a doubly stochastic W keeps.
        return torch.cat([anchor, state.models]).mean(0)

    def mix(
        self, state: Auxiliary, anchor: Tensor, received: Tensor, clients: Tensor, info: Round
    ) -> tuple[Tensor, Auxiliary]:
        models = torch.cat([anchor, state.models])
        steps = torch.zeros_like(models).index_add(0, clients, received)
        matrix = self.graph.matrix(info.round_index, len(models))
        # The move and not W X, which would lose digits to cancellation.
        pull = torch.tensor(matrix - np.eye(len(models)), dtype=models.dtype, device=models.device)
        if self.order == "adapt_then_combine":
            move = pull @ (models + steps) + steps
        else:
            move = pull @ models + steps
        return move[: len(anchor)], Auxiliary(state.models + move[len(anchor) :])


def _check_equal_influence(matrices: Matrix, num_clients: int) -> None:
    """Raise ValueError unless all clients have equal weight in the limit of matrices [T, n, n].

    Mixing preserves influence @ X, where influence @ W = influence.
    """
    nodes = matrices.shape[1]
    system = np.vstack([matrices.mean(0).T - np.eye(nodes), np.ones(nodes)])
    influence = np.linalg.lstsq(system, np.eye(nodes + 1)[nodes], rcond=None)[0]
    kept = np.abs(influence @ matrices - influence).max() < ROUNDING
    if not kept or np.ptp(influence[:num_clients]) > ROUNDING:
        raise ValueError(
            "W gives the clients unequal weights in the consensus model,"
            f" {np.round(influence[:num_clients], 4).tolist()}; make its columns sum to 1"
        )
