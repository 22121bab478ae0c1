"""Graphs as plain arrays: links [n, n], True where the row's node sends to the column's node.

`weigh` turns links into a mixing matrix [n, n], in which a row holds the weights with which its
node combines what it has and receives.
"""

from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedlocal.vectors.rng import Purpose, generator

Links = NDArray[np.bool_]
Matrix = NDArray[np.float64]
Weighing = Literal["metropolis", "uniform"]

# A random graph that is not connected is drawn again, so often at most.
DRAWS = 1000


def circulant(nodes: int, hops: list[int]) -> Links:
    """Link every node to those at these distances further around a circle.

    >>> circulant(3, [1]).astype(int).tolist()
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    """
    rows, links = np.arange(nodes), np.zeros((nodes, nodes), dtype=bool)
    for hop in hops:
        links[rows, (rows + hop) % nodes] = True
    np.fill_diagonal(links, False)
    return links


def complete(nodes: int) -> Links:
    """Link all nodes to each other."""
    return ~np.eye(nodes, dtype=bool)


def ring(nodes: int) -> Links:
    """Link every node to both neighbours on a circle."""
    return circulant(nodes, [1, -1])


def torus(nodes: int) -> Links:
    """Link the nodes of a grid, as square as possible, whose rows and columns are rings."""
    height = next(h for h in range(isqrt(nodes), 0, -1) if nodes % h == 0)
    if height == 1 and nodes > 3:
        raise ValueError(
            f"a torus needs a x b nodes with a, b >= 2, and {nodes} is prime; use another number of"
            " clients, or graph=ring"
        )
    width = nodes // height
    rows, columns = np.kron(np.eye(height), ring(width)), np.kron(ring(height), np.eye(width))
    return rows + columns > 0


def star(nodes: int) -> Links:
    """Node 0 and everyone else."""
    links = np.zeros((nodes, nodes), dtype=bool)
    links[0, 1:] = links[1:, 0] = True
    return links


def powers(nodes: int) -> list[int]:
    """Return the powers of two below the number of nodes.

    >>> powers(9)
    [1, 2, 4, 8]
    """
    return [2**k for k in range((nodes - 1).bit_length())]


def exponential(nodes: int) -> Links:
    """Link every node to those 1, 2, 4, ... places further, in this direction only."""
    return circulant(nodes, powers(nodes))


def hypercube(nodes: int) -> Links:
    """Link nodes whose numbers differ in one binary digit."""
    if nodes & (nodes - 1):
        raise ValueError(
            f"a hypercube needs a power of two of nodes, got {nodes}; use another number of"
            " clients, or graph=exponential"
        )
    rows, links = np.arange(nodes), np.zeros((nodes, nodes), dtype=bool)
    for bit in powers(nodes):
        links[rows, rows ^ bit] = True
    return links


@lru_cache(maxsize=32)
def random_links(nodes: int, p: float, seed: int, directed: bool) -> Links:
    """Link each pair with probability p, independently; drawn again until connected."""
    # A free stream: who takes part is drawn from keys, not from a generator.
    rng = generator(seed, Purpose.SAMPLING)
    for _ in range(DRAWS):
        links = rng.random((nodes, nodes)) < p
        links = links if directed else np.triu(links) | np.triu(links).T
        np.fill_diagonal(links, False)
        if unheard(links) is None:
            links.setflags(write=False)
            return links
    raise ValueError(
        f"none of {DRAWS} random graphs with p={p} on {nodes} nodes was connected; a p above"
        f" log(n) / n = {np.log(nodes) / nodes:.2g} usually is"
    )


def unheard(links: Links) -> tuple[int, int] | None:
    """Return two nodes without a path from the first to the second; None if all have one."""
    reach = (links | np.eye(len(links), dtype=bool)).astype(np.float64)
    for _ in powers(len(links)):
        # Paths twice as long each time.
        reach = (reach @ reach > 0).astype(np.float64)
    pairs = np.argwhere(reach == 0)
    return None if len(pairs) == 0 else (int(pairs[0, 0]), int(pairs[0, 1]))


def weigh(links: Links, weighing: Weighing = "metropolis") -> Matrix:
    """Return the mixing matrix of these links, [n, n].

    Metropolis-Hastings: 1 / (1 + the larger number of links of the two). Uniform: 1 / (1 + the
    largest number of links of all). Where links go one way, the first cannot be: then every sender
    splits its own evenly, and columns sum to 1 but rows perhaps not. What is left of a column is
    the sender's own share.

    >>> weigh(ring(4)).round(2).tolist()[0]
    [0.33, 0.33, 0.0, 0.33]
    """
    degree = links.sum(1)
    if weighing == "uniform":
        degree = np.full_like(degree, degree.max())
    elif (links == links.T).all():
        degree = np.maximum(degree, degree[:, None])
    matrix = links.T / (1.0 + degree)
    np.fill_diagonal(matrix, 1 - matrix.sum(0))
    return matrix


def drawn_links(graph: Any) -> Links:
    """Return the links of a networkx graph in the order of `graph.nodes`, without weights."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    links = np.zeros((len(place), len(place)), dtype=bool)
    for one, other in graph.edges():
        links[place[one], place[other]] = True
    np.fill_diagonal(links, False)
    return links if graph.is_directed() else links | links.T


def read_matrix(path: Path) -> Matrix:
    """Read the numbers of a .npy, .csv or .txt file."""
    if not path.is_file():
        raise ValueError(f"graph: there is no file {path}")
    try:
        if path.suffix == ".npy":
            return np.load(path)
        return np.loadtxt(
            path, delimiter="," if path.suffix == ".csv" else None, ndmin=2, encoding="utf-8"
        )
    except ValueError as error:
        raise ValueError(f"graph: {path} is not a matrix of numbers: {error}") from error
