"""Graphs: who talks to whom in which round, and with which weights models are combined.

`as_graph` says what may be given for one; `check_graph` and `spectral_gap` look at its mixing
matrices, in which row i holds the weights with which node i combines what it has and receives.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from fedlocal.slots.mixing.graph_kinds import (
    SHAPES,
    ErdosRenyi,
    Given,
    Graph,
    Named,
    OnePeerExponential,
)
from fedlocal.slots.mixing.topology import Matrix, drawn_links, read_matrix, unheard, weigh
from fedlocal.utils.suggest import did_you_mean

# What sums may miss 1 by, and what of a disagreement counts as none.
ROUNDING = 1e-9

FILES = (".npy", ".csv", ".txt")

NAMES: dict[str, Callable[..., Graph]] = {
    **{name: partial(Named, name) for name in SHAPES},
    "one_peer_exponential": OnePeerExponential,
    "erdos_renyi": ErdosRenyi,
}
# Words that may follow a name, and what they set.
WORDS: dict[str, dict[str, Any]] = {
    "metropolis": {"weights": "metropolis"},
    "uniform": {"weights": "uniform"},
    "directed": {"directed": True},
}

GraphLike = str | Path | Sequence[Sequence[float]] | Matrix | Graph | Any


def as_graph(graph: GraphLike) -> Graph:
    """Return the graph of a name, a matrix or a graph of networkx.

    Args:
        graph: One of these.
            A name: complete, ring, torus, star, exponential, hypercube, one_peer_exponential, or
            erdos_renyi. What follows a colon is a setting: `ring:uniform`, and for erdos_renyi its
            p, its seed, and perhaps `directed`, as in `erdos_renyi:0.3:1:directed`.
            The path of a matrix in a .npy, .csv or .txt file.
            A matrix [K, K], or several that take turns, [T, K, K].
            A networkx graph (client i is its i-th node).
            A Graph.

    Raises:
        ValueError: It is none of these.

    >>> as_graph("ring").cycle(4).round(2).tolist()[0][0]
    [0.33, 0.33, 0.0, 0.33]
    >>> spectral_gap(as_graph([[0.5, 0.5], [0.5, 0.5]]), 2)
    1.0
    """
    if isinstance(graph, Graph):
        return graph
    if isinstance(graph, str | Path):
        path = Path(graph)
        return Given.of(read_matrix(path)) if path.suffix in FILES else _spelled(str(graph))
    if hasattr(graph, "is_directed"):
        return Given.of(weigh(drawn_links(graph)))
    return Given.of(graph)


@lru_cache(maxsize=32)
def spectral_gap(graph: Graph, num_clients: int) -> float:
    """Return the share of the nodes' disagreement that a round removes: 1 for all, 0 for none.

    1 - |second eigenvalue| of a symmetric matrix. Of any other whose rows and columns sum to 1, its
    second singular value takes that place; if only one of the two do, the second eigenvalue does
    again. Of matrices that take turns: of their product, as a mean over the rounds.

    >>> round(spectral_gap(as_graph("ring"), 8), 3)
    0.195
    """
    matrices = graph.cycle(num_clients)
    product = reduce(lambda before, after: after @ before, matrices)
    if _sum_to_one(product, 0) and _sum_to_one(product, 1):
        left = np.linalg.norm(product - 1 / num_clients, 2)
    else:
        left = np.sort(np.abs(np.linalg.eigvals(product)))[-2]
    return float(1 - (left if left > ROUNDING else 0.0) ** (1 / len(matrices)))


def describe(graph: Graph, num_clients: int) -> str:
    """Describe a graph in a line.

    >>> describe(as_graph("ring"), 8)
    'ring of 8: spectral gap 0.195, each client talks to 2'
    """
    turns = graph.rounds(num_clients)
    counts = np.stack([graph.links(t, num_clients).sum(1) for t in range(turns)])
    few, many = counts.min(), counts.max()
    others = f"{few}" if few == many else f"{few} to {many}"
    over = "" if turns == 1 else f" in a round, the same again after {turns} rounds"
    gap = spectral_gap(graph, num_clients)
    return f"{graph} of {num_clients}: spectral gap {gap:.3g}, each client talks to {others}{over}"


def check_graph(
    graph: Graph,
    num_clients: int,
    rows: bool = True,
    columns: bool = True,
    symmetric: bool = False,
    nonnegative: bool = False,
) -> None:
    """Refuse a graph with which models of so many nodes would not become equal, or not the mean.

    Args:
        graph: What to look at, in all of its rounds.
        num_clients: Number of nodes.
        rows: Rows must sum to 1: nodes that agree go on to agree.
        columns: Columns must sum to 1: mixing does not change the mean.
        symmetric: W must be its own transpose.
        nonnegative: No entry may be negative.

    Raises:
        ValueError: It fails one of these, or some node never hears of another.
    """
    matrices = graph.cycle(num_clients)
    _check_sums(graph, matrices, rows, columns)
    if symmetric and np.abs(matrices - matrices.swapaxes(1, 2)).max() > ROUNDING:
        raise ValueError(f"graph={graph}: W must be symmetric here; in a link both must send")
    if nonnegative and matrices.min() < 0:
        raise ValueError(f"graph={graph}: no weight may be negative, got {matrices.min():.4g}")
    union = np.any([graph.links(t, num_clients) for t in range(len(matrices))], axis=0)
    if (pair := unheard(union)) is not None:
        raise ValueError(
            f"graph={graph} is not connected: node {pair[1]} never hears of node {pair[0]}; add"
            " links"
        )
    if (gap := spectral_gap(graph, num_clients)) < ROUNDING:
        raise ValueError(
            f"graph={graph} does not bring models together, its spectral gap is {gap:.4g}; let"
            " each node keep a larger share of its own (the diagonal of W)"
        )


def _check_sums(graph: Graph, matrices: Matrix, rows: bool, columns: bool) -> None:
    for name, wanted, axis in (("row", rows, 2), ("column", columns, 1)):
        if wanted and not _sum_to_one(matrices, axis):
            sums = matrices.sum(axis).ravel()
            raise ValueError(
                f"graph={graph}: every {name} of W must sum to 1, one sums to"
                f" {sums[np.abs(sums - 1).argmax()]:.6g}; "
                + (
                    "use links that go both ways, or sgp, which needs columns alone"
                    if rows and columns
                    else f"divide each {name} by its sum"
                )
            )


def _sum_to_one(matrices: Matrix, axis: int) -> bool:
    return bool(np.abs(matrices.sum(axis) - 1).max() < ROUNDING)


def _spelled(text: str) -> Graph:
    """Build the graph of a name and its settings, separated by colons."""
    name, *given = text.split(":")
    if name not in NAMES:
        raise ValueError(
            f"there is no graph {name!r}{did_you_mean(name, NAMES)}; it is one of"
            f" {', '.join(NAMES)}, the path of a .npy, .csv or .txt file, or a matrix"
        )
    words = {key: value for word in given for key, value in WORDS.get(word, {}).items()}
    try:
        numbers = [float(g) if "." in g else int(g) for g in given if g not in WORDS]
        return NAMES[name](*numbers, **words)
    except (TypeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else f"{name} has no such setting"
        raise ValueError(
            f"graph={text!r} cannot be read: {reason}; a setting is uniform or metropolis, and for"
            " erdos_renyi its p, its seed and directed, as in erdos_renyi:0.3:1:directed"
        ) from error
