"""Heterogeneity in numbers: against plain numpy, and columns that are the same in every round."""

import numpy as np
import pytest

from fedlocal import Clock, DropOut
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.diagnostics import NAMES, names_of
from fedlocal.rounds.scoring import Evaluate
from fedlocal.slots.compress import TopK
from strategies.double_compression import double_compression
from strategies.easgd import easgd
from strategies.local_sgd import local_sgd
from strategies.overlap_local_sgd import overlap_local_sgd
from tests.problems import (
    RUNTIMES,
    constant_gradients,
    distance,
    least_squares,
    mean_output,
    simulate,
)

PROBLEM = least_squares()
LR, K = 0.05, len(PROBLEM.sizes)


def rows(strategy, rounds=3, problem=PROBLEM, diagnostics=True, **options):
    return simulate(problem, strategy, rounds, diagnostics=diagnostics, **options).history


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_against_numpy(runtime):
    x = PROBLEM.start
    for row in rows(local_sgd(LR, 3), runtime=runtime):
        ends = []
        for gradient in PROBLEM.gradients:
            y = x.copy()
            for _ in range(3):
                y = y - LR * gradient(y)
            ends.append(y)
        updates = np.array(ends) - x
        x = np.mean(ends, axis=0)
        g = np.array([gradient(x) for gradient in PROBLEM.gradients])
        mean = updates.mean(0)
        cosines = updates @ mean / np.linalg.norm(updates, axis=1) / np.linalg.norm(mean)
        expected = {
            "gradient_diversity": (g**2).sum() / (g.sum(0) ** 2).sum(),
            "gradient_variance": ((g - g.mean(0)) ** 2).sum() / K,
            "consensus_distance": 0.0,
            "drift_norm": np.linalg.norm(updates, axis=1).mean(),
            "update_cosine": cosines.mean(),
            "staleness": 0.0,
        }
        assert list(expected) == list(NAMES)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-11, abs=1e-12), name


def test_consensus_distance_of_clients_with_models_of_their_own():
    result = simulate(PROBLEM, easgd(LR, 3, 0.1), 4, diagnostics=["consensus_distance"])
    models = result.client_params.numpy()
    spread = ((models - models.mean(0)) ** 2).sum() / K
    assert spread > 1e-3
    assert result.history[-1]["consensus_distance"] == pytest.approx(spread, rel=1e-12)


def test_updates_are_what_the_messages_say():
    alone, one_value = least_squares((6,)), double_compression(LR, 3, TopK(0.01), TopK(1.0))
    result = simulate(alone, one_value, 1, diagnostics=["drift_norm"])
    moved = result.params.numpy() - alone.start
    assert np.count_nonzero(moved) == 1
    assert result.history[0]["drift_norm"] == pytest.approx(np.abs(moved).max(), rel=1e-12)


def test_staleness():
    clock = Clock("constant", (0.01, 0.02, 0.04, 0.08, 0.1), 0.1, float("inf"))
    late = rows(local_sgd(LR, 10), 4, clock=clock, deadline=Deadline(0.61, "next_round"))
    assert [row["staleness"] for row in late] == [0, 2 / 5, 0, 2 / 5]
    overlapped = rows(overlap_local_sgd(LR, 3), 2)
    assert [row["staleness"] for row in overlapped] == [1, 1]


def test_none_where_nothing_is_defined():
    history = rows(local_sgd(LR, 3), 3, faults=DropOut(1.0), evaluate=Evaluate(every=2))
    at_evaluations = ("gradient_diversity", "gradient_variance", "consensus_distance")
    for row in history:
        due = row["round"] != 1
        assert [row[name] is not None for name in NAMES] == [
            due and name in at_evaluations for name in NAMES
        ]


def test_gradients_that_cancel_have_no_diversity():
    opposite = constant_gradients(np.array([[1.0, 2.0], [-1.0, -2.0]]))
    found = rows(local_sgd(LR, 1), 1, opposite, loss=mean_output)[0]
    assert found["gradient_diversity"] is None
    assert found["gradient_variance"] == pytest.approx(5.0)
    assert found["update_cosine"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("asked", [(), ["staleness", "drift_norm"], True], ids=str)
def test_asking_changes_nothing_else(asked):
    options = {"batch_size": 3, "participation": 0.6, "seed": 4}
    plain = simulate(PROBLEM, local_sgd(LR, 3, momentum=0.9), 4, **options)
    told = simulate(PROBLEM, local_sgd(LR, 3, momentum=0.9), 4, diagnostics=asked, **options)
    assert distance(plain.params, told.params) == 0
    names = names_of(asked)
    for before, after in zip(plain.history, told.history, strict=True):
        assert list(after) == [*list(before)[:9], *names, *list(before)[9:]]
        assert {key: after[key] for key in before if key != "wall_seconds"} == {
            key: value for key, value in before.items() if key != "wall_seconds"
        }


def test_names():
    assert names_of(False) == names_of([]) == ()
    assert names_of(True) == tuple(NAMES)
    assert names_of("staleness") == names_of(["staleness", "staleness"]) == ("staleness",)
    for given in ("stalenes", ["drift_norm", "stalenes"]):
        with pytest.raises(
            ValueError, match=r"no diagnostic stalenes \(did you mean staleness\?\)"
        ):
            names_of(given)
