"""A graph on the command line: a name, a name with settings, a file, a matrix."""

import numpy as np
import pytest

QUICK = ("dataset=quadratic", "rounds=1", "K=4", "strategy=d_pasgd")
HALF = 0.5 * np.eye(4) + 0.5 * np.roll(np.eye(4), 1, 0)


@pytest.mark.parametrize(
    ("graph", "line"),
    [
        ("ring", "ring of 4: spectral gap 0.667, each client talks to 2"),
        ("erdos_renyi:1.0:3", "erdos_renyi:1:3 of 4: spectral gap 1, each client talks to 3"),
        ("star:uniform", "star of 4: spectral gap 0.25, each client talks to 1 to 3"),
        (
            "{_target_:fedlocal.slots.mixing.ErdosRenyi,p:1}",
            "erdos_renyi:1:0 of 4: spectral gap 1, each",
        ),
        ("w.csv", "matrix of 4: spectral gap 0.293, each client talks to 1"),
        (HALF.tolist(), "matrix of 4: spectral gap 0.293, each client talks to 1"),
    ],
)
def test_a_run_begins_with_what_to_know_of_its_graph(cli, here, graph, line):
    np.savetxt(here / "w.csv", HALF, delimiter=",")
    outcome = cli(*QUICK, f"strategy.graph={graph}")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(line)


def test_a_sweep_and_a_star_do_not(cli):
    assert "spectral gap" not in cli("-m", *QUICK, "strategy.graph=ring,star").out
    assert "spectral gap" not in cli(*QUICK, "strategy=easgd").out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("strategy.graph=rnig",), ("no graph 'rnig' (did you mean ring?)", "torus, star")),
        (("strategy.graph=w.npy",), ("there is no file w.npy",)),
        (("strategy.graph=torus", "K=7"), ("7 is prime", "graph=ring")),
        (("strategy.graph=[[0.5,0.5],[0.5,0.5]]",), ("2 x 2", "there are 4")),
        (("strategy.graph=erdos_renyi:0.5:1:directed",), ("every row of W must sum to 1", "sgp")),
        (("participation=0.5",), ("every client takes part",)),
        (("downlink=qsgd",), ("every client receives the anchor exactly",)),
        (("strategy.order=foo",), ("adapt_then_combine or combine_then_adapt, got 'foo'",)),
    ],
)
def test_refusals(cli, here, given, words):
    line = cli(*QUICK, *given).refused
    assert all(word in line for word in words), line
    assert list(here.iterdir()) == []
