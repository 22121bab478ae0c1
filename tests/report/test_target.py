import pytest

from fedlocal.report.groups import groups_of
from fedlocal.report.runs import read_runs
from fedlocal.report.target import automatic_target, tabulate_target
from tests.report.folders import run_folder


def groups(folder):
    return groups_of(read_runs([folder]))


def rows(folder, target):
    return tabulate_target(groups(folder), target).to_dict("records")


def test_costs_are_means_over_the_seeds_that_reach_it(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.5, 0.9, 0.8))
    run_folder(tmp_path / "1", "seed=1", accuracies=(0.9, 0.5, 0.5))
    run_folder(tmp_path / "2", "seed=2", accuracies=(0.5, 0.5, 0.899))
    (row,) = rows(tmp_path, 0.9)
    assert (row["n"], row["reached"]) == (3, 2)
    assert (row["rounds"], row["local_steps"], row["bytes"]) == (1.5, 15, 12000)
    assert row["seconds"] == pytest.approx(0.3024)
    assert row["rounds_std"] == pytest.approx(0.5**0.5)


def test_never_reached_is_no_number(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.5, float("nan"), 0.6))
    (row,) = rows(tmp_path, 0.7)
    assert row["reached"] == 0
    assert {row[key] for key in ("rounds", "bytes", "seconds", "rounds_std")} == {None}


def test_rounds_without_an_evaluation_do_not_count(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.5, None, 0.9))
    (row,) = rows(tmp_path, 0.6)
    assert row["rounds"] == 3


def test_the_automatic_target_is_reached_by_half_of_the_groups(tmp_path):
    for number, best in enumerate((0.999, 0.876, 0.61, 0.4)):
        run_folder(tmp_path / str(number), f"K={number + 1}", accuracies=(0.1, best, 0.2))
    # A group reaches what all of its seeds reach.
    run_folder(tmp_path / "4", "K=1", "seed=1", accuracies=(0.99,))
    assert automatic_target(groups(tmp_path)) == 0.87
    assert [row["reached"] for row in rows(tmp_path, 0.87)] == [2, 1, 0, 0]


def test_a_target_below_a_percent_is_not_rounded_to_nothing(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.004,))
    assert automatic_target(groups(tmp_path)) == 0.004


def test_without_a_test_set_there_is_none(tmp_path):
    run_folder(tmp_path / "0", accuracies=(None, None))
    assert automatic_target(groups(tmp_path)) is None
