"""When a run ends before its last round, and what it took to get somewhere."""

import pytest

from fedlocal.rounds.goal import Goal
from strategies.local_sgd import local_sgd
from tests.problems import least_squares, simulate

PROBLEM = least_squares()


def rows(*values: float | None, metric: str = "test_accuracy") -> list[dict]:
    return [
        {metric: value, "round": t, "uplink_bytes": 10 * t, "downlink_bytes": t}
        | {"sim_seconds": t / 4}
        for t, value in enumerate(values, start=1)
    ]


def ended(goal: Goal, history: list[dict]) -> int | None:
    """The round in which a run ends."""
    return next((t for t in range(1, len(history) + 1) if goal.met(history[:t])), None)


def test_without_a_goal_a_run_goes_to_its_end():
    assert ended(Goal(), rows(0.1, 1.0, None, 0.0)) is None and Goal().summary(rows(1.0)) == {}


def test_an_accuracy_is_reached_from_below_and_a_loss_from_above():
    assert ended(Goal(target=0.5), rows(0.2, None, 0.5, 0.4)) == 3
    assert ended(Goal("train_loss", target=0.5), rows(0.9, 0.6, 0.4, metric="train_loss")) == 3
    assert ended(Goal(target=0.9), rows(0.2, None, 0.5)) is None


def test_the_summary_has_what_the_target_took():
    goal = Goal(target=0.5, stop=False)
    history = rows(0.2, None, 0.6, 0.9)
    assert ended(goal, history) is None
    assert goal.summary(history) == {
        "rounds_to_target": 3, "bytes_to_target": 33, "sim_seconds_to_target": 0.75
    }  # fmt: skip
    assert set(goal.summary(rows(0.2)).values()) == {None}


@pytest.mark.parametrize(
    ("values", "patience", "min_change", "end"),
    [
        ((0.1, 0.2, 0.2, 0.15, 0.3), 2, 0.0, 4),
        # Rounds without an evaluation do not count.
        ((0.1, 0.2, None, 0.2, None, 0.15), 2, 0.0, 6),
        # Slow progress still adds up against the best value.
        ((0.10, 0.14, 0.18, 0.22), 2, 0.05, None),
        ((0.10, 0.11, 0.12, 0.13), 3, 0.05, 4),
        ((float("nan"), float("nan"), float("nan")), 3, 0.0, 3),
    ],
)
def test_patience(values, patience, min_change, end):
    assert ended(Goal(patience=patience, min_change=min_change), rows(*values)) == end


def test_a_simulation_ends_there_and_was_the_same_until_then():
    whole = simulate(PROBLEM, local_sgd(0.05, 3), 12)
    losses = [row["train_loss"] for row in whole.history]
    target = (losses[4] + losses[5]) / 2
    cut = simulate(PROBLEM, local_sgd(0.05, 3), 12, goal=Goal("train_loss", target))
    assert len(cut.history) == 6 and len(cut.ledger.records) == 6
    assert [row["train_loss"] for row in cut.history] == losses[:6]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"metric": "accuracy"}, "goal.metric must be one of test_accuracy, test_loss"),
        ({"target": 90.0}, r"must be in \[0, 1\], got 90.0; for example 0.9"),
        ({"patience": 0}, "goal.patience must be >= 1 evaluation, got 0"),
        ({"min_change": -1.0}, "goal.min_change must be >= 0, got -1.0"),
    ],
)
def test_what_cannot_be_is_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        Goal(**values)


def test_a_metric_that_will_never_be_there_is_refused():
    with pytest.raises(ValueError, match="not defined for this data set; it has train_loss, local"):
        simulate(PROBLEM, local_sgd(0.05, 3), 2, goal=Goal(target=0.5))
    assert len(simulate(PROBLEM, local_sgd(0.05, 3), 2, goal=Goal()).history) == 2
