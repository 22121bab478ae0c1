import pickle
from math import cos, pi

import numpy as np
import pytest

from fedlocal.slots.mixing import ErdosRenyi, Given, as_graph, check_graph, describe, spectral_gap

STATIC = ["complete", "ring", "torus", "star", "exponential", "hypercube"]
RANDOM = "erdos_renyi:0.5:3"
UNDIRECTED = ["complete", "ring", "torus", "star", "hypercube", RANDOM]
ALL = [*STATIC, "one_peer_exponential", RANDOM, "erdos_renyi:0.5:3:directed"]
DOUBLY = [name for name in ALL if "directed" not in name]


def matrix(graph, nodes, t=0):
    return as_graph(graph).matrix(t, nodes)


def receivers(graph, nodes, t=0):
    """The nodes that each sends to."""
    return [sorted(np.flatnonzero(row)) for row in as_graph(graph).links(t, nodes)]


# Who talks to whom.


def test_links_of_small_graphs_by_hand():
    assert receivers("complete", 3) == [[1, 2], [0, 2], [0, 1]]
    assert receivers("ring", 4) == [[1, 3], [0, 2], [1, 3], [0, 2]]
    assert receivers("star", 4) == [[1, 2, 3], [0], [0], [0]]
    # Two rows of three: 0 1 2 over 3 4 5.
    assert receivers("torus", 6) == [
        [1, 2, 3],
        [0, 2, 4],
        [0, 1, 5],
        [0, 4, 5],
        [1, 3, 5],
        [2, 3, 4],
    ]
    assert receivers("hypercube", 4) == [[1, 2], [0, 3], [0, 3], [1, 2]]
    assert receivers("exponential", 5) == [[1, 2, 4], [0, 2, 3], [1, 3, 4], [0, 2, 4], [0, 1, 3]]


def test_one_peer_takes_turns():
    hops = [receivers("one_peer_exponential", 6, t)[0] for t in range(7)]
    assert hops == [[1], [2], [4], [1], [2], [4], [1]]
    assert as_graph("one_peer_exponential").rounds(6) == 3
    assert receivers("one_peer_exponential", 6, 1) == [[2], [3], [4], [5], [0], [1]]


@pytest.mark.parametrize("nodes", [9, 16, 36])
def test_a_square_torus_has_four_neighbours(nodes):
    assert {len(others) for others in receivers("torus", nodes)} == {4}


def test_ring_weighs_itself_and_both_neighbours_a_third():
    assert np.allclose(matrix("ring", 5)[0], [1 / 3, 1 / 3, 0, 0, 1 / 3], atol=1e-15)
    assert np.allclose(matrix("ring", 2), 0.5, atol=1e-15)
    assert np.allclose(matrix("ring", 3), 1 / 3, atol=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_one_client_keeps_its_model(name):
    assert matrix(name, 1).tolist() == [[1.0]]
    check_graph(as_graph(name), 1)


# Weights.


@pytest.mark.parametrize("weights", ["metropolis", "uniform"])
@pytest.mark.parametrize("name", UNDIRECTED)
@pytest.mark.parametrize("nodes", [2, 4, 8, 16])
def test_undirected_graphs_are_symmetric_and_doubly_stochastic(name, nodes, weights):
    graph = as_graph(f"{name}:{weights}")
    check_graph(graph, nodes, symmetric=True, nonnegative=True)
    found = graph.matrix(0, nodes)
    assert np.allclose(found, found.T, atol=1e-15)
    assert np.allclose(found.sum(0), 1, atol=1e-12)


def test_metropolis_and_uniform_on_a_star():
    # Every link has the centre's three neighbours at one end.
    expected = np.diag([1 / 4, 3 / 4, 3 / 4, 3 / 4])
    expected[0, 1:] = expected[1:, 0] = 1 / 4
    assert np.allclose(matrix("star", 4), expected, atol=1e-15)
    assert np.allclose(matrix("star:uniform", 4), expected, atol=1e-15)
    path = as_graph(Path4())
    assert np.allclose(path.matrix(0, 4)[0], [2 / 3, 1 / 3, 0, 0], atol=1e-15)


@pytest.mark.parametrize("name", ["exponential", "one_peer_exponential"])
@pytest.mark.parametrize("nodes", [2, 5, 8])
def test_circles_that_go_one_way_are_doubly_stochastic(name, nodes):
    check_graph(as_graph(name), nodes, nonnegative=True)
    found = matrix(name, nodes)
    assert np.allclose(found.sum(1), 1, atol=1e-15)
    assert set(np.round(found[found > 0], 12)) == {
        round(1 / (1 + len(receivers(name, nodes)[0])), 12)
    }


def test_senders_split_evenly_where_links_go_one_way():
    graph = as_graph("erdos_renyi:0.4:1:directed")
    found, links = graph.matrix(0, 7), graph.links(0, 7)
    assert (links != links.T).any()
    for sender, column in enumerate(found.T):
        assert np.allclose(column[column > 0], 1 / (1 + links[sender].sum()), atol=1e-15)
        assert column[sender] > 0
    check_graph(graph, 7, rows=False, nonnegative=True)


# Random graphs.


def test_a_random_graph_is_a_function_of_its_seed():
    one = matrix("erdos_renyi:0.5:1", 8)
    assert (one == matrix("erdos_renyi:0.5:1", 8)).all()
    assert (one != matrix("erdos_renyi:0.5:2", 8)).any()
    assert as_graph("erdos_renyi:0.5:1") == ErdosRenyi(0.5, 1) != ErdosRenyi(0.5, 2)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("directed", [False, True])
def test_random_graphs_are_drawn_until_connected(seed, directed):
    # A first draw this sparse is hardly ever connected.
    graph = ErdosRenyi(0.25, seed, directed=directed)
    check_graph(graph, 8, rows=not directed)


def test_a_hopeless_random_graph_is_refused():
    with pytest.raises(ValueError, match=r"none of 1000 random graphs .* log\(n\) / n = 0\.1"):
        matrix("erdos_renyi:0.001:0", 30)
    assert len(receivers("erdos_renyi:1.0:0", 6)[0]) == 5


# Spectral gaps against closed forms.


@pytest.mark.parametrize("nodes", [2, 3, 4, 8, 15])
def test_gaps_of_circles(nodes):
    modes = [(1 + 2 * cos(2 * pi * k / nodes)) / 3 for k in range(1, nodes)]
    expected = 1 - max(map(abs, modes)) if nodes > 2 else 1
    assert spectral_gap(as_graph("ring"), nodes) == pytest.approx(expected, abs=1e-9)
    assert spectral_gap(as_graph("complete"), nodes) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("side", [3, 4, 6])
def test_gap_of_a_torus(side):
    wave = [cos(2 * pi * k / side) for k in range(side)]
    modes = [(1 + 2 * a + 2 * b) / 5 for a in wave for b in wave]
    expected = 1 - sorted(map(abs, modes))[-2]
    assert spectral_gap(as_graph("torus"), side**2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_gap_of_a_hypercube(dimension):
    modes = [1 - 2 * k / (dimension + 1) for k in range(1, dimension + 1)]
    expected = 1 - max(map(abs, modes))
    found = spectral_gap(as_graph("hypercube"), 2**dimension)
    assert found == pytest.approx(expected, abs=1e-8)


def test_gaps_of_rings_and_tori_as_published_for_choco():
    # Koloskova et al. 2020, table of the scaling experiment.
    rings = [round(spectral_gap(as_graph("ring"), n), 2) for n in (4, 16, 36)]
    tori = [round(spectral_gap(as_graph("torus"), n), 1) for n in (16, 36)]
    assert rings == [0.67, 0.05, 0.01]
    assert tori == [0.4, 0.2]


@pytest.mark.parametrize("nodes", [2, 4, 8, 16])
def test_one_peer_at_a_time_reaches_the_mean_in_log_n_rounds(nodes):
    graph = as_graph("one_peer_exponential")
    assert spectral_gap(graph, nodes) == 1
    product = np.linalg.multi_dot([np.eye(nodes), *graph.cycle(nodes)])
    assert np.allclose(product, 1 / nodes, atol=1e-15)
    assert 0 < spectral_gap(graph, nodes + 1) < 1


def test_the_gap_of_a_matrix_that_is_not_symmetric():
    # Half stays and half moves on by one: |1 + w| / 2 for the fifth roots of unity w.
    shift = 0.5 * np.eye(5) + 0.5 * np.roll(np.eye(5), 1, 0)
    assert spectral_gap(as_graph(shift), 5) == pytest.approx(1 - cos(pi / 5), abs=1e-12)


def test_the_gap_of_columns_alone_is_how_fast_push_sum_forgets():
    graph = as_graph("erdos_renyi:0.4:1:directed")
    P = graph.matrix(0, 7)
    limit = np.linalg.matrix_power(P, 4000)
    apart = [np.abs(np.linalg.matrix_power(P, n) - limit).max() for n in (6, 22)]
    rate = (apart[1] / apart[0]) ** (1 / 16)
    assert 1 - spectral_gap(graph, 7) == pytest.approx(rate, rel=0.1)


# What may be given.


class Path4:
    """What is read of a networkx graph: 0 - 1 - 2 - 3."""

    nodes = "abcd"

    def is_directed(self):
        return False

    def edges(self):
        return [("a", "b"), ("c", "b"), ("c", "d")]


def test_networkx_graphs():
    networkx = pytest.importorskip("networkx")
    for drawn, name in [(networkx.cycle_graph(6), "ring"), (networkx.star_graph(5), "star")]:
        assert np.allclose(matrix(drawn, 6), matrix(name, 6), atol=1e-15)
    one_way = networkx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    assert receivers(one_way, 3) == [[1, 2], [2], [0]]
    assert matrix(one_way, 3)[:, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    twice = networkx.MultiGraph([(0, 1), (0, 1), (1, 1)])
    assert receivers(twice, 2) == [[1], [0]]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt"])
def test_a_matrix_from_a_file(tmp_path, suffix):
    path, values = tmp_path / f"w{suffix}", matrix("star", 4)
    if suffix == ".npy":
        np.save(path, values)
    else:
        np.savetxt(path, values, fmt="%.17g", delimiter="," if suffix == ".csv" else " ")
    assert as_graph(str(path)) == as_graph(path) == as_graph(values)


@pytest.mark.parametrize("given", [*ALL, [[0.5, 0.5], [0.5, 0.5]], np.full((2, 2), 0.5)])
def test_a_graph_is_a_value(given):
    graph = as_graph(given)
    again = pickle.loads(pickle.dumps(graph))
    assert again == graph == as_graph(graph) == as_graph(given)
    assert hash(again) == hash(graph)
    # Two ends of a run compare its text.
    assert repr(again) == repr(graph)
    assert (again.matrix(0, 2) == graph.matrix(0, 2)).all()


def test_matrices_that_take_turns():
    pair = np.stack([np.eye(2), np.full((2, 2), 0.5)])
    graph = as_graph(pair)
    assert graph.rounds(2) == 2
    assert (graph.matrix(2, 2) == np.eye(2)).all()
    assert (graph.matrix(3, 2) == 0.5).all()
    assert not graph.links(0, 2).any()
    # Together they are connected.
    check_graph(graph, 2)
    assert graph == Given.of(pair.tolist())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("rnig", r"no graph 'rnig' \(did you mean ring\?\)"),
        ("ring:0.5", "ring has no such setting"),
        ("ring:directed", "ring has no such setting"),
        ("erdos_renyi:many", "invalid literal"),
        ("erdos_renyi:0.5:1:2", "erdos_renyi has no such setting"),
        ("erdos_renyi:0.0", r"probability in \(0, 1\], got 0\.0"),
        ("erdos_renyi:0.5:0.5", "whole number"),
        ("missing.npy", "there is no file missing.npy"),
        ([1.0, 2.0], r"must be \[K, K\].*got shape \(2,\)"),
        (np.ones((2, 3)), r"got shape \(2, 3\)"),
        (None, "must be"),
        ([[float("nan")]], "finite numbers"),
    ],
)
def test_what_is_no_graph_is_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        as_graph(given)


def test_a_file_without_numbers_is_refused(tmp_path):
    for name in ("w.csv", "w.npy"):
        path = tmp_path / name
        path.write_text("a,b\nc,d\n")
        with pytest.raises(ValueError, match="is not a matrix of numbers"):
            as_graph(path)


@pytest.mark.parametrize(
    ("name", "nodes", "reason"),
    [
        ("torus", 7, "7 is prime"),
        ("hypercube", 6, "power of two of nodes, got 6"),
        (np.eye(3), 4, "3 x 3, for 3 nodes, and there are 4"),
    ],
)
def test_numbers_of_clients_that_do_not_fit_are_refused(name, nodes, reason):
    with pytest.raises(ValueError, match=reason):
        matrix(name, nodes)


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_small_torus_is_a_ring(nodes):
    assert (matrix("torus", nodes) == matrix("ring", nodes)).all()


@pytest.mark.parametrize(
    ("given", "options", "reason"),
    [
        ([[0.5, 0.6], [0.5, 0.4]], {}, r"every row of W must sum to 1, one sums to 1\.1"),
        ([[0.5, 0.5], [0.2, 0.8]], {}, "every column of W must sum to 1, one sums to"),
        ([[0.5, 0.6], [0.5, 0.4]], {"rows": False, "symmetric": True}, "must be symmetric"),
        (
            [[1.5, -0.5], [-0.5, 1.5]],
            {"nonnegative": True},
            r"no weight may be negative, got -0\.5",
        ),
        ([[1.5, -0.5], [-0.5, 1.5]], {}, "does not bring models together, its spectral gap is -1"),
        ([[0.0, 1.0], [1.0, 0.0]], {}, "does not bring models together, its spectral gap is 0"),
        (np.kron(np.eye(2), np.full((2, 2), 0.5)), {}, "node 2 never hears of node 0"),
    ],
)
def test_matrices_that_would_not_average_are_refused(given, options, reason):
    with pytest.raises(ValueError, match=reason):
        check_graph(as_graph(given), len(given), **options)


def test_one_way_is_not_enough():
    # Node 1 hears of node 0, but not the other way round.
    with pytest.raises(ValueError, match="node 0 never hears of node 1"):
        check_graph(as_graph([[1.0, 0.0], [0.5, 0.5]]), 2, columns=False)


# What a user reads.


@pytest.mark.parametrize(
    ("given", "nodes", "line"),
    [
        ("ring", 8, "ring of 8: spectral gap 0.195, each client talks to 2"),
        ("star", 5, "star of 5: spectral gap 0.2, each client talks to 1 to 4"),
        (
            "one_peer_exponential",
            8,
            "one_peer_exponential of 8: spectral gap 1, each client talks to 1 in a round, the same"
            " again after 3 rounds",
        ),
        (np.full((4, 4), 0.25), 4, "matrix of 4: spectral gap 1, each client talks to 3"),
    ],
)
def test_the_line_before_a_run(given, nodes, line):
    assert describe(as_graph(given), nodes) == line
