import csv

import pandas as pd
import pytest

from fedlocal.report.command import main as report
from fedlocal.report.groups import groups_of
from fedlocal.report.heat_maps import default_metric
from fedlocal.report.runs import read_runs
from fedlocal.report.show import show_rounds
from fedlocal.report.tables import (
    for_reading,
    means,
    tabulate,
    tabulate_groups,
    to_latex,
    to_markdown,
)
from tests.report.folders import run_folder


def read_groups(folder):
    return for_reading(tabulate_groups(groups_of(read_runs([folder])))).to_dict("records")


def test_groups_have_means_deviations_and_their_seeds(tmp_path):
    for seed, best in ((0, 0.8), (1, 0.9)):
        run_folder(tmp_path / f"two/{seed}", "K=2", f"seed={seed}", accuracies=(0.1, best))
    run_folder(tmp_path / "one", "K=3", "seed=7")
    report([str(tmp_path), "--out", str(tmp_path / "out")])
    with (tmp_path / "out/groups.csv").open(newline="") as file:
        one, two = csv.DictReader(file)
    assert [two[key] for key in ("K", "n", "seeds")] == ["2", "2", "0 1"]
    assert float(two["test_accuracy"]) == pytest.approx(0.85)
    assert float(two["test_accuracy_std"]) == pytest.approx(0.1 / 2**0.5)
    assert [one[key] for key in ("K", "n", "seeds", "test_accuracy_std")] == ["3", "1", "7", ""]
    read = (tmp_path / "out/groups.md").read_text()
    assert " 0.85 ± 0.071 |" in read and "std" not in read
    # Bytes are the same with every seed, and are whole numbers.
    assert " 4000 |" in read
    assert [two[key] for key in ("uplink_bytes", "uplink_bytes_std")] == ["4000", "0"]
    with (tmp_path / "out/summary.csv").open(newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["one", "two/0", "two/1"]


def test_a_seed_that_diverged_leaves_no_mean(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.1, float("nan")))
    run_folder(tmp_path / "1", "seed=1")
    (row,) = read_groups(tmp_path)
    assert row["test_accuracy"] == "nan ± nan" and row["round"] == "2.5 ± 0.71"
    report([str(tmp_path), "--out", str(tmp_path / "out")])
    with (tmp_path / "out/groups.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["test_accuracy"] == row["test_accuracy_std"] == "nan" and row["round"] == "2.5"


def test_a_mean_over_a_missing_value_is_missing():
    assert means({"x": [1.0, None], "y": []}) == dict.fromkeys(("x", "x_std", "y", "y_std"))
    assert means({"x": [2, 4]}) == {"x": 3, "x_std": pytest.approx(2**0.5)}
    assert means({"x": [2.5]}) == {"x": 2.5, "x_std": None}


def test_a_setting_whose_name_ends_as_a_deviation_stays(tmp_path):
    for number, std in enumerate((0.1, 0.2)):
        run_folder(tmp_path / str(number), f"model.init_std={std}")
    assert [row["model.init_std"] for row in read_groups(tmp_path)] == ["0.1", "0.2"]


def test_the_clients_loss_stands_where_nobody_could_evaluate_a_model(tmp_path, capsys):
    for seed in (0, 1):
        run_folder(
            tmp_path / f"away/{seed}", f"seed={seed}", accuracies=(None, None),
            local_losses=(1.0, 0.5),
        )  # fmt: skip
    runs = read_runs([tmp_path])
    assert tabulate(runs)["local_loss"].tolist() == [0.5, 0.5]
    (row,) = read_groups(tmp_path)
    assert row["local_loss"] == "0.5" and "train_loss" not in row
    assert default_metric(groups_of(runs)) == "local_loss"
    show_rounds(runs[0].history)
    head, first, last = capsys.readouterr().out.splitlines()
    assert "local loss" in head and "train loss" not in head
    assert first.split()[:3] == ["1", "10", "1"] and last.split()[:3] == ["2", "20", "0.5"]
    # One run with an evaluation, and the table is that of evaluations.
    run_folder(tmp_path / "here", "K=3")
    runs = read_runs([tmp_path])
    assert "local_loss" not in tabulate(runs)
    assert default_metric(groups_of(runs)) == "test_accuracy"


def test_latex_has_booktabs_rules_and_nothing_of_it_is_markup_by_chance():
    table = [
        {"hidden": "[4]", "a_b": "50% & #1 {x} $y$ ~ ^ \\ < > |", "n": "2", "loss": "0.1"},
        {"hidden": "*", "a_b": "", "n": "10", "loss": ""},
    ]
    lines = to_latex(pd.DataFrame(table)).splitlines()
    assert lines[1:4] == [
        r"\begin{tabular}{llrr}",
        r"\toprule",
        r"hidden & a b & n & loss \\",
    ]
    assert lines[4] == r"\midrule" and lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    # A bracket or a star after \\ would be its argument.
    assert lines[5].startswith("{[}4{]} & ") and lines[6] == r"{*} &  & 10 &  \\"
    assert lines[5].split(" & ")[-2:] == ["2", r"0.1 \\"]
    escaped = (
        r"50\% \& \#1 \{x\} \$y\$ \textasciitilde \space \textasciicircum \space"
        r" \textbackslash \space \textless{} \textgreater{} \textbar{}"
    )
    assert escaped in lines[5]


def test_latex_sets_a_deviation_with_its_sign():
    text = to_latex(pd.DataFrame({"loss": ["0.5 ± 0.1", "nan ± nan", ""]}))
    assert r"0.5 $\pm$ 0.1 \\" in text and r"\begin{tabular}{r}" in text


def test_markdown_aligns_numbers_and_escapes_its_rule():
    table = pd.DataFrame({"note": ["a|b", "c"], "loss": ["0.5 ± 0.1", ""]})
    assert to_markdown(table).splitlines() == [
        "| note   |      loss |",
        "|:-------|----------:|",
        r"| a\|b   | 0.5 ± 0.1 |",
        "| c      |           |",
    ]
