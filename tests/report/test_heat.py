import pytest

from fedlocal.report.groups import groups_of
from fedlocal.report.heat_maps import heat_keys, heat_maps
from fedlocal.report.heat_png import draw_heat
from fedlocal.report.report import ReportOptions, report_on
from fedlocal.report.runs import read_runs
from tests.report.folders import run_folder


def groups(folder):
    return groups_of(read_runs([folder]))


def values(one):
    return [[cell and cell.value for cell in row] for row in one.cells]


def test_means_over_seeds_in_the_order_of_numbers_and_no_run_no_cell(tmp_path):
    for number, (clients, steps, seed, best) in enumerate(
        [(10, 5, 0, 0.5), (10, 5, 1, 0.7), (9, 5, 0, 0.4), (10, 20, 0, 0.3)]
    ):
        run_folder(
            tmp_path / str(number), f"K={clients}", f"H={steps}", f"seed={seed}",
            accuracies=(0.1, best),
        )  # fmt: skip
    (one,) = heat_maps(groups(tmp_path), ("K", "H"), "test_accuracy")
    assert (one.title, one.rows, one.columns) == ("", ["9", "10"], ["5", "20"])
    assert values(one) == [[0.4, None], [pytest.approx(0.6), 0.3]]
    assert one.cells[1][0] is not None and "n=2" in one.cells[1][0].about


def test_a_map_for_each_setting_of_the_other_keys(tmp_path):
    number = 0
    for alpha in (1, 2):
        for clients, steps in ((2, 5), (3, 5), (2, 6)):
            name = tmp_path / str(number)
            run_folder(name, f"K={clients}", f"H={steps}", f"partition.alpha={alpha}")
            number += 1
    found = groups(tmp_path)
    # More values of another key do not matter where K and H vary.
    assert heat_keys(found, None) == ("K", "H")
    maps = heat_maps(found, ("K", "H"), "train_loss")
    assert [one.title for one in maps] == ["alpha=1", "alpha=2"]
    assert heat_keys(found, "alpha, K") == ("partition.alpha", "K")
    maps = heat_maps(found, ("partition.alpha", "K"), "train_loss")
    assert [(one.title, one.row_key) for one in maps] == [("H=5", "alpha"), ("H=6", "alpha")]
    draw_heat(maps, "train loss", tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_else_the_two_that_vary_most(tmp_path):
    grid = [(c, a, b) for c in (2, 3) for a in (1, 2, 3) for b in (0.1, 0.2, 0.3)]
    for number, (clients, alpha, lr) in enumerate(grid):
        run_folder(tmp_path / str(number), f"K={clients}", f"partition.alpha={alpha}", f"lr={lr}")
    assert heat_keys(groups(tmp_path), None) == ("partition.alpha", "lr")


def test_one_key_makes_no_map_and_a_wrong_one_is_refused(tmp_path):
    for clients in (2, 3):
        run_folder(tmp_path / str(clients), f"K={clients}", "lr=0.2")
    assert heat_keys(groups(tmp_path), None) is None
    with pytest.raises(ValueError, match=r"--heat must be two of the keys .*got 'K,lr'.*are K$"):
        heat_keys(groups(tmp_path), "K,lr")


def test_a_seed_that_diverged_is_said_and_not_left_out(tmp_path):
    for number, (clients, steps) in enumerate([(2, 5), (3, 6)]):
        run_folder(tmp_path / str(number), f"K={clients}", f"H={steps}", "seed=0")
    run_folder(tmp_path / "2", "K=3", "H=6", "seed=1", accuracies=(0.1, float("nan")))
    (one,) = heat_maps(groups(tmp_path), ("K", "H"), "test_accuracy")
    texts = [[cell and cell.text for cell in row] for row in one.cells]
    assert texts == [["0.900", None], [None, "diverged"]]
    draw_heat([one], "test accuracy", tmp_path / "heat.png")


def test_a_search_over_real_numbers_is_no_heat_map(tmp_path):
    for number in range(41):
        run_folder(tmp_path / f"runs/{number}", f"lr={number + 0.5}", f"partition.alpha={number}")
    read = read_runs([tmp_path])
    report = report_on(read, ReportOptions())
    assert report.heat is None
    assert report.notes == [
        "1 heat maps of 41 x 41 over lr, partition.alpha are too many to look at; at most 40 of"
        " 40 x 40 are drawn"
    ]
    with pytest.raises(ValueError, match="heat maps of 41 x 41"):
        report_on(read, ReportOptions(heat="lr,alpha"))
