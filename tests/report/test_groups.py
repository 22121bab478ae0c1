import json

from fedlocal.report.groups import groups_of
from fedlocal.report.report import ReportOptions, report_on
from fedlocal.report.runs import read_runs
from tests.report.folders import run_folder


def members(folder):
    groups = groups_of(read_runs([folder]))
    return {group.label: [run.label for run in group.runs] for group in groups}


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path):
    run_folder(tmp_path / "0", "K=2", "seed=1")
    # seed=0 by default, and lr as it is anyway, in other spellings.
    run_folder(tmp_path / "1", "K=2")
    run_folder(tmp_path / "2", "K=2", "seed=2", "lr=1e-1")
    run_folder(tmp_path / "3", "K=3", "seed=0", "tracking._target_=elsewhere")
    assert members(tmp_path) == {"K=2": ["1", "0", "2"], "K=3": ["3"]}


def test_whole_numbers_fall_together_with_their_decimals(tmp_path):
    run_folder(tmp_path / "0", "lr=1")
    run_folder(tmp_path / "1", "lr=1.0", "seed=1")
    assert members(tmp_path) == {"all seeds": ["0", "1"]}


def test_what_no_override_names_still_parts_groups(tmp_path):
    run_folder(tmp_path / "0", config={"partition": {"alpha": 1.0}})
    run_folder(tmp_path / "1", "seed=1", config={"partition": {"alpha": 2.0}})
    assert members(tmp_path) == {"alpha=1": ["0"], "alpha=2": ["1"]}


def test_a_seed_counts_once_in_a_group(tmp_path):
    for number, seed in enumerate((0, 1, 0)):
        run_folder(tmp_path / str(number), "K=2", f"seed={seed}")
    assert members(tmp_path) == {"repeat=1": ["0", "1"], "repeat=2": ["2"]}


def test_a_part_that_follows_the_seed_does_not_part_a_group(tmp_path):
    for seed in (3, 4):
        run_folder(tmp_path / str(seed), f"seed={seed}", config={"dataset": {"seed": seed}})
    assert members(tmp_path) == {"all seeds": ["3", "4"]}


def test_a_seed_of_the_data_that_was_swept_does(tmp_path):
    for number, (data, seed) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        run_folder(tmp_path / str(number), f"seed={seed}", f"dataset.seed={data}")
    assert members(tmp_path) == {"seed=0": ["0", "1"], "seed=1": ["2", "3"]}


def test_a_fixed_seed_of_the_data_does_not(tmp_path):
    for seed in (0, 1):
        run_folder(tmp_path / str(seed), f"seed={seed}", config={"dataset": {"seed": 0}})
    assert members(tmp_path) == {"all seeds": ["0", "1"]}


def test_a_label_names_choices_and_leaves_out_what_a_run_has_not(tmp_path):
    run_folder(tmp_path / "0", "strategy.period=5")
    run_folder(
        tmp_path / "1", "strategy.period=5", "strategy.graph=ring", choices={"strategy": "d_pasgd"}
    )
    assert list(members(tmp_path)) == ["default", "graph=ring"]
    summary = tmp_path / "1/summary.json"
    summary.write_text(summary.read_text().replace("strategy.period=5", "strategy=d_pasgd"))
    assert list(members(tmp_path)) == ["strategy=local_sgd", "strategy=d_pasgd  graph=ring"]


def test_a_mean_over_runs_of_different_code_is_said(tmp_path):
    for seed in (0, 1):
        run = run_folder(tmp_path / str(seed), f"seed={seed}")
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(summary | {"code_sha256": "abc"}))
    assert report_on(read_runs([tmp_path]), ReportOptions()).notes == []
    (run / "summary.json").write_text(json.dumps(summary | {"code_sha256": "def"}))
    (note,) = report_on(read_runs([tmp_path]), ReportOptions()).notes
    assert note == "these are means over runs of different code: all seeds"
