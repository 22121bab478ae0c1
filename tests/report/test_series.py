import pytest

from fedlocal.report.curves import draw
from fedlocal.report.groups import groups_of
from fedlocal.report.runs import read_runs
from fedlocal.report.series import AXES, metrics_of, series
from tests.report.folders import run_folder

BY_KEY = {axis.key: axis for axis in AXES}


def groups(folder):
    return groups_of(read_runs([folder]))


def test_mean_and_sample_deviation_where_all_seeds_have_a_value(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.1, None, 0.5, 0.9))
    run_folder(tmp_path / "1", "seed=1", accuracies=(0.3, 0.4, None, 0.5))
    (group,) = groups(tmp_path)
    one = series(group, "test_accuracy", BY_KEY["rounds"])
    assert one.x == [1, 4]
    assert one.mean == pytest.approx([0.2, 0.7])
    assert one.deviation == pytest.approx([0.2 / 2**0.5, 0.4 / 2**0.5])


@pytest.mark.parametrize(
    ("axis", "places"),
    [
        ("rounds", [1, 2, 3]),
        ("local_steps", [10, 20, 30]),
        ("bytes", [0.008, 0.016, 0.024]),
        ("seconds", [0.2016, 0.4032, 0.6048]),
    ],
)
def test_the_four_axes(tmp_path, axis, places):
    run_folder(tmp_path / "0")
    one = series(groups(tmp_path)[0], "train_loss", BY_KEY[axis])
    assert one.x == pytest.approx(places)
    assert one.mean == pytest.approx([0.5, 0.2, 0.1])
    assert one.deviation == []


def test_positions_are_averaged_too(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", "seed=1")
    metrics = tmp_path / "1/metrics.csv"
    # As if a trigger had sent less.
    metrics.write_text(metrics.read_text().replace(",4000,4000,", ",2000,4000,"))
    one = series(groups(tmp_path)[0], "test_accuracy", BY_KEY["bytes"])
    assert one.x == pytest.approx([0.007, 0.016, 0.024])


def test_a_mean_ends_where_a_seed_diverges(tmp_path):
    nan = float("nan")
    run_folder(tmp_path / "0", accuracies=(0.1, nan))
    run_folder(tmp_path / "1", "seed=1")
    one = series(groups(tmp_path)[0], "test_accuracy", BY_KEY["rounds"])
    assert one.mean[0] == pytest.approx(0.3) and one.mean[1] != one.mean[1]


def test_seeds_without_a_common_round_have_no_curve(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.1, None))
    run_folder(tmp_path / "1", "seed=1", accuracies=(None, 0.2))
    assert series(groups(tmp_path)[0], "test_accuracy", BY_KEY["rounds"]) == ([], [], [])
    draw(groups(tmp_path), tmp_path / "curves.png")


def test_usual_metrics_come_first_and_axes_are_none(tmp_path):
    run_folder(tmp_path / "0")
    assert list(metrics_of(groups(tmp_path))) == ["test_accuracy", "train_loss", "test_loss"]


def test_the_picture_has_four_axes_and_the_bands_of_several_seeds(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    for number, (clients, seed) in enumerate([(2, 0), (2, 1), (3, 0)]):
        run_folder(tmp_path / str(number), f"K={clients}", f"seed={seed}")
    draw(groups(tmp_path), tmp_path / "curves.png")
    (figure,) = drawn
    assert len(figure.axes) == 8
    assert [plot.get_xlabel() for plot in figure.axes[4:]] == [axis.label for axis in AXES]
    assert [plot.get_ylabel() for plot in figure.axes[::4]] == ["train loss", "test accuracy"]
    # The others of a row, or column, have the same scale.
    assert {plot.get_ylim() for plot in figure.axes[4:]} == {figure.axes[4].get_ylim()}
    assert all(figure.axes[i].get_xlim() == figure.axes[i + 4].get_xlim() for i in range(4))
    assert all(len(plot.lines) == len(plot.collections) == 2 for plot in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["K=2  (n=2)", "K=3"]
    assert "one standard deviation" in legend.get_title().get_text()
