"""Pictures of the graphs that runs mix on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from fedlocal.config.components import strategy_of
from fedlocal.config.errors import one_line
from fedlocal.report.partition_summary import evenly
from fedlocal.report.runs import Group
from fedlocal.slots.mixing import Graph, describe, spectral_gap

# More lines than this cannot be told apart.
MOST_LINKS = 4000


class GraphPicture(NamedTuple):
    """Graph with its nodes on a circle.

    Attributes:
        title: Name of the graph, its spectral gap and its degrees.
        nodes: Positions of the n nodes, [n, 2].
        links: Sender and receiver of the L links of any round, [L, 2]; in an undirected graph each
            pair once.
        directed: Whether some link goes one way only.
        auxiliary: Number of nodes, the last ones, that are no clients.
        gap: Spectral gap.
        note: Statement of the links that are shown; "" if all are.
        groups: Labels of the groups that mix on the graph.
    """

    title: str
    nodes: NDArray[np.float64]
    links: NDArray[np.int64]
    directed: bool
    auxiliary: int
    gap: float
    note: str
    groups: list[str]


class Graphs(NamedTuple):
    """Graphs of a report.

    Attributes:
        pictures: Pictures of the distinct graphs.
        lost: Reasons why a group's graph could not be built, by the group's label.
    """

    pictures: list[GraphPicture]
    lost: dict[str, str]


def graphs_of(groups: list[Group]) -> Graphs:
    """Build the graphs of the groups that mix on one again from their configurations."""
    users: dict[tuple[Graph, int, int], list[str]] = {}
    lost: dict[str, str] = {}
    for group in groups:
        config = group.runs[0].summary.get("config", {})
        if "graph" not in config.get("strategy", {}):
            continue
        try:
            mixing: Any = strategy_of(DictConfig(config)).mixing
            auxiliary = getattr(mixing, "auxiliary", 0)
            # Refuses a graph that does not have this number of nodes: its file may have changed.
            mixing.graph.matrix(0, config["K"] + auxiliary)
        except Exception as error:
            # A strategy may not be installed here, or a matrix's file may be missing.
            lost[group.label] = one_line(error)
            continue
        key = (mixing.graph, config["K"] + auxiliary, auxiliary)
        users.setdefault(key, []).append(group.label)
    return Graphs([_picture(*key, labels) for key, labels in users.items()], lost)


def _picture(graph: Graph, count: int, auxiliary: int, groups: list[str]) -> GraphPicture:
    turns = [graph.links(t, count) for t in range(graph.rounds(count))]
    links = np.any(turns, axis=0)
    directed = bool((links != links.T).any())
    pairs = np.argwhere(links if directed else np.triu(links))
    some = _thinned(pairs, count)
    notes = [
        f"The links of all {len(turns)} rounds together" if len(turns) > 1 else "",
        f"{len(some)} of {len(pairs)} links are shown, those of evenly spaced nodes"
        if len(some) < len(pairs)
        else "",
    ]
    # From the top, clockwise.
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GraphPicture(
        describe(graph, count),
        places,
        some,
        directed,
        auxiliary,
        spectral_gap(graph, count),
        "; ".join(note for note in notes if note),
        groups,
    )


def _thinned(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the links of evenly spaced nodes, of as many as have at most MOST_LINKS."""
    most = count
    some = pairs
    while len(some) > MOST_LINKS and most > 1:
        most //= 2
        some = pairs[np.isin(pairs, evenly(count, most)).any(axis=1)]
    return some
