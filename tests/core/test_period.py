"""Periods by themselves: the schedules, and AdaComm on losses of one's choice."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.slots.period import (
    AdaComm,
    ConstantPeriod,
    Epochs,
    GapSet,
    StepPeriod,
    SwitchPeriod,
    period_of,
)

EPOCH = np.array([2.0, 3.5, 0.5])


def taken(period, rounds=6):
    state = period.init()
    return [period.steps(state, t, EPOCH).tolist() for t in range(rounds)]


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (ConstantPeriod(4), [4] * 6),
        (SwitchPeriod(before=1, after=7, at=2), [1, 1, 7, 7, 7, 7]),
        (StepPeriod(periods=(9, 3, 5), at=(1, 4)), [9, 3, 3, 3, 5, 5]),
        (StepPeriod(periods=(9,), at=()), [9] * 6),
        (GapSet((1, 5, 2)), [1, 5, 2, 2, 2, 2]),
        (GapSet.at_steps([1, 6, 8]), [1, 5, 2, 2, 2, 2]),
    ],
    ids=repr,
)
def test_a_schedule_is_the_same_for_all_clients(period, expected):
    assert taken(period) == [[h] * 3 for h in expected]


def test_epochs_count_each_clients_own_data():
    assert taken(Epochs(1.5), 1) == [[3, 6, 1]]


@given(gaps=st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_gaps_are_the_distances_of_the_synchronisations(gaps):
    assert GapSet.at_steps(np.cumsum(gaps).tolist()) == GapSet(tuple(gaps))


def test_lists_of_a_configuration_are_values():
    assert GapSet([1, 2]) == GapSet((1, 2))  # type: ignore[arg-type]
    assert StepPeriod([1, 2], [3]) == StepPeriod((1, 2), (3,))  # type: ignore[arg-type]
    for period in (GapSet([1, 2]), StepPeriod([1, 2], [3]), AdaComm(8)):  # type: ignore[arg-type]
        again = pickle.loads(pickle.dumps(period))
        assert again == period and hash(again) == hash(period)


def test_a_number_is_a_constant_period():
    assert period_of(3) == ConstantPeriod(3)
    assert period_of(GapSet((2,))) == GapSet((2,))
    assert period_of(3, epochs=2.0) == Epochs(2.0)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ConstantPeriod(0), r"period \(H\) must be a whole number of local steps >= 1"),
        (lambda: ConstantPeriod(float("inf")), "a whole number of local steps >= 1, got inf"),
        (lambda: StepPeriod((3, 0), (1,)), "each of periods must be a whole number .* got 0"),
        (lambda: StepPeriod((3, 2), ()), r"one less than there are periods, got periods=\[3, 2\]"),
        (lambda: StepPeriod((3, 2, 1), (5, 4)), r"growing rounds.* and at=\[5, 4\]"),
        (lambda: GapSet(()), "gaps must hold at least one number of local steps, got none"),
        (lambda: GapSet((3, 0)), "each of gaps must be a whole number of local steps >= 1, got 0"),
        (lambda: GapSet.at_steps([3, 3]), "each of gaps must be .* got 0"),
        (lambda: AdaComm(0), "initial_period must be a whole number of local steps >= 1, got 0"),
        (lambda: AdaComm(9, gamma=1.0), r"gamma must be in \(0, 1\), got 1.0; the paper uses 0.5"),
        (lambda: AdaComm(9, exponent=2), "exponent must be 0, 1 or 3, got 2"),
        (lambda: AdaComm(9, block=0), "block must be positive, got 0"),
        (lambda: AdaComm(9, unit="epochs"), "unit must be rounds or seconds, got 'epochs'"),
        (lambda: AdaComm(9, loss="loss"), "loss must be local_loss or train_loss, got 'loss'"),
    ],
)
def test_wrong_periods_are_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def row(t, loss, lr=0.1, seconds=None):
    return {
        "round": t + 1,
        "local_loss": loss,
        "train_loss": None,
        "lr": lr,
        "sim_seconds": t + 1.0 if seconds is None else seconds,
    }


def path(period, rows):
    """The period before each row, and after the last."""
    state, found = period.init(), []
    for each in rows:
        found.append(int(period.steps(state, 0, EPOCH)[0]))
        state = period.observe(state, each)
        assert pickle.loads(pickle.dumps(state)) == state
    return [*found, int(period.steps(state, 0, EPOCH)[0])]


def test_the_basic_rule_by_hand():
    # ceil(sqrt(F_l / F_0) 20) for F_l / F_0 = 1 / 4, then 0.09, then 1 / 10000.
    rows = [row(t, loss) for t, loss in enumerate([8.0, 2.0, 0.72, 0.0008])]
    assert path(AdaComm(20, block=1), rows) == [20, 20, 10, 6, 1]


def test_a_constant_loss_decays_the_period_geometrically():
    rows = [row(t, 3.0) for t in range(8)]
    assert path(AdaComm(20, gamma=0.5, block=1), rows) == [20, 20, 10, 5, 3, 2, 1, 1, 1]
    assert path(AdaComm(20, gamma=0.8, block=1), rows) == [20, 20, 16, 13, 11, 9, 8, 7, 6]


@given(
    initial=st.integers(1, 50),
    gamma=st.floats(0.05, 0.95),
    exponent=st.sampled_from([0, 1, 3]),
    losses=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=12),
)
def test_at_a_constant_rate_the_period_never_grows(initial, gamma, exponent, losses):
    found = path(
        AdaComm(initial, gamma, exponent, block=1), [row(t, f) for t, f in enumerate(losses)]
    )
    assert found == sorted(found, reverse=True) and found[-1] >= 1
    assert found[0] == found[1] == initial


@pytest.mark.parametrize("exponent", [1, 3])
def test_the_rule_for_changing_rates(exponent):
    rows = [row(0, 4.0, 0.1), row(1, 1.0, 0.1), row(2, 1.0, 0.025), row(3, 1.0, 0.025)]
    # At a quarter of the rate the root has 4^p F_l / F_0 inside; then gamma, the rate being kept.
    grown = {1: 20, 3: 80}[exponent]
    assert path(AdaComm(20, exponent=exponent, block=1), rows) == [20, 20, 10, grown, grown // 2]


def test_the_same_mean_rate_of_a_longer_round_is_no_change():
    means = [float(np.full(n, 0.1).mean()) for n in (1, 3, 7, 10, 50)]
    assert len(set(means)) > 1
    rows = [row(t, 3.0, means[t % len(means)]) for t in range(5)]
    assert path(AdaComm(16, block=1), rows) == [16, 16, 8, 4, 2, 1]


def test_rows_without_a_loss_decide_nothing():
    lost = [row(1, None), row(2, 5.0, lr=None), row(3, float("nan")), row(4, float("inf"))]
    assert path(AdaComm(20, block=1), [row(0, 8.0), *lost, row(5, 2.0)]) == [20] * 6 + [10]
    assert path(AdaComm(20, block=1), lost) == [20] * 5


def test_blocks_end_with_their_length():
    rows = [row(t, 3.0, seconds=10.0 * (t + 1)) for t in range(7)]
    assert path(AdaComm(16, block=3), rows) == [16, 16, 16, 16, 8, 8, 8, 4]
    assert path(AdaComm(16, block=25.0, unit="seconds"), rows) == [16, 16, 16, 16, 8, 8, 8, 4]
    assert path(AdaComm(16, block=20.0, unit="seconds"), rows) == [16, 16, 16, 8, 8, 4, 4, 2]


def test_a_loss_that_falls_below_zero_asks_for_every_step():
    assert path(AdaComm(20, block=1), [row(0, 1.0), row(1, -3.0)]) == [20, 20, 1]


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_first_loss_that_is_no_measure_is_refused(loss):
    with pytest.raises(ValueError, match="the first, which must be positive, got"):
        path(AdaComm(20), [row(0, loss)])
