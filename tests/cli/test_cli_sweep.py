import csv
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fedlocal.report.command import main as report
from fedlocal.report.groups import groups_of
from fedlocal.report.runs import read_runs
from fedlocal.report.tables import tabulate
from fedlocal.rounds import run_loop

QUICK = ("dataset=quadratic", "rounds=2")


def sweep_folder(here: Path) -> Path:
    (record,) = here.rglob("multirun.yaml")
    return record.parent


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def finished_run(folder: Path, *overrides: str, loss: float = 1.0) -> Path:
    """What a report needs of a run."""
    folder.mkdir(parents=True)
    row = {"round": 1, "local_steps": 10, "train_loss": loss, "test_accuracy": "", "sim_seconds": 1}
    row |= {"uplink_bytes": 10, "downlink_bytes": 10}
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerow(row)
    config = OmegaConf.create({"K": 8, "partition": {"alpha": 0.1}, "model": {"hidden": [128]}})
    given = OmegaConf.from_dotlist([one for one in overrides if not one.startswith("strategy")])
    config = OmegaConf.to_container(OmegaConf.merge(config, given))
    about = {"overrides": list(overrides), "config": config, "choices": {"strategy": "local_sgd"}}
    (folder / "summary.json").write_text(json.dumps({"round": 1, "train_loss": loss} | about))
    return folder


def test_sweep(cli, here):
    arguments = ("K=2,3", "strategy=local_sgd,vrl_sgd", "model.bias=true")
    # The flag may stand anywhere.
    outcome = cli(*QUICK, "-m", *arguments)
    assert outcome.code == 0 and outcome.err == ""
    folder = sweep_folder(here)
    table = table_of(folder)
    assert [(row["run"], row["K"], row["strategy"]) for row in table] == [
        ("0", "2", "local_sgd"),
        ("1", "2", "vrl_sgd"),
        ("2", "3", "local_sgd"),
        ("3", "3", "vrl_sgd"),
    ]
    for row in table:
        summary = json.loads((folder / row["run"] / "summary.json").read_text())
        assert float(row["train_loss"]) == summary["train_loss"]
        assert float(row["sim_seconds"]) == summary["sim_seconds"]
        assert (row["uplink_bytes"], row["test_accuracy"]) == (str(summary["uplink_bytes"]), "")
    assert len((folder / "summary.md").read_text().splitlines()) == 2 + len(table)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")
    # The page is for fedlocal-report: a sweep ends without delay.
    assert not (folder / "report.html").exists()
    printed = outcome.out.splitlines()[-6:]
    assert printed[0].split()[:4] == ["run", "K", "strategy", "train"]
    assert [line.split()[2] for line in printed[1:5]] == [row["strategy"] for row in table]
    # What all share is said once.
    assert "4 runs, dataset=quadratic rounds=2 model.bias=" in printed[5]


def test_values_with_commas(cli, here):
    # A key of one's own is read by the name of the job.
    note = ("+note='a=b, c'", "hydra.job.name=${note}")
    outcome = cli("-m", "dataset=synthetic", "rounds=1", "model.hidden=[4],[4,3]", *note)
    assert outcome.code == 0, outcome.err
    table = table_of(sweep_folder(here))
    assert [row["model.hidden"] for row in table] == ["[4]", "[4,3]"]
    assert {row["note"] for row in table} == {"'a=b, c'"}


@pytest.mark.parametrize("values, kept", [("0,2", "1"), ("2,0", "0")])
def test_a_refused_job_leaves_nothing_and_the_others_go_on(cli, here, values, kept):
    outcome = cli("-m", *QUICK, f"K={values}")
    assert outcome.code == 2
    assert outcome.err == "fedlocal: K must be a whole number >= 1, got 0; for example K=8\n"
    folder = sweep_folder(here)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [kept]
    assert [row["run"] for row in table_of(folder)] == [kept]


@pytest.mark.parametrize("given", ["K=0,-1", "strategy=local_sgd,foo", "foo=1,2"])
def test_a_sweep_in_which_nothing_began_leaves_nothing(cli, here, given):
    outcome = cli("-m", *QUICK, given)
    assert outcome.code == 2 and outcome.out == "" and "Traceback" not in outcome.err
    assert list(here.iterdir()) == []


def test_a_bug_in_one_job_spares_the_others(cli, here, monkeypatch):
    def buggy(sim, state, _advance=run_loop.advance_turns):
        if len(sim.clients) == 2:
            raise RuntimeError("a bug")
        return _advance(sim, state)

    monkeypatch.setattr(run_loop, "advance_turns", buggy)
    outcome = cli("-m", *QUICK, "K=2,3,0")
    assert outcome.code == 1
    assert "Traceback" in outcome.err and "RuntimeError: a bug" in outcome.err
    assert [row["K"] for row in table_of(sweep_folder(here))] == ["3"]


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 0):
        finished_run(tmp_path / str(number), f"K={number}")
    assert [run.label for run in read_runs([tmp_path])] == ["0", "9", "10"]


def test_a_key_that_only_some_runs_were_told_has_its_default_in_the_others(tmp_path):
    finished_run(tmp_path / "a", "strategy=vrl_sgd", "model.hidden=[128]")
    finished_run(tmp_path / "b", "partition.alpha=5")
    first, second = tabulate(read_runs([tmp_path])).to_dict("records")
    assert (first["strategy"], second["strategy"]) == ("vrl_sgd", "local_sgd")
    assert (first["partition.alpha"], second["partition.alpha"]) == ("0.1", "5")
    assert first["model.hidden"] == second["model.hidden"] == "[128]"


def test_labels_name_what_differs(tmp_path):
    for number, alpha in enumerate((1, 2)):
        finished_run(tmp_path / str(number), "K=4", f"partition.alpha={alpha}")
    assert [one.label for one in groups_of(read_runs([tmp_path]))] == ["alpha=1", "alpha=2"]
    finished_run(tmp_path / "2", "K=4", "partition.alpha=1")
    labels = [one.label for one in groups_of(read_runs([tmp_path]))]
    assert labels == ["alpha=1  repeat=1", "alpha=2  repeat=1", "alpha=1  repeat=2"]


def test_report_over_several_folders(tmp_path, capsys):
    one = finished_run(tmp_path / "sweep/0", "K=2", loss=0.123456789)
    two = finished_run(tmp_path / "single", "K=3", "strategy=vrl_sgd")
    report([str(one.parent), str(two), "--out", str(tmp_path / "out")])
    table = table_of(tmp_path / "out")
    assert [row["run"] for row in table] == ["single", "sweep/0"]
    assert table[1]["train_loss"] == "0.123456789"
    assert "2 runs" in capsys.readouterr().out
    kinds = ("csv", "md", "tex")
    written = {"curves.png", *(f"{table}.{k}" for table in ("summary", "groups") for k in kinds)}
    # One key differs, and without a test set there is no accuracy to reach.
    assert {path.name for path in (tmp_path / "out").iterdir()} == written


def test_report_command_on_a_folder_without_runs(shell, here):
    outcome = shell(str(here / "nothing"), "--out", "new", command="fedlocal-report")
    assert "no finished run in" in outcome.refused and "nothing" in outcome.refused
    assert list(here.iterdir()) == []


def test_another_clock_gives_the_seconds_of_a_run_under_it(cli, here):
    law = ("clock=pareto", "clock.spread=0.5", "clock.seconds_per_step=[0.01,0.02]")
    other = ("clock.latency_seconds=0.2", "clock.bandwidth_bytes=1000")
    for name, settings in (("kept", law), ("wanted", law + other)):
        assert cli(*QUICK, *settings, f"hydra.run.dir={name}").code == 0
    report(["kept", "--latency", "200ms", "--bandwidth", "8kbit", "--out", "out"])
    wanted = json.loads((here / "wanted/summary.json").read_text())["sim_seconds"]
    kept = json.loads((here / "kept/summary.json").read_text())["sim_seconds"]
    assert float(table_of(here / "out")[0]["sim_seconds"]) == pytest.approx(wanted, rel=1e-14)
    assert wanted > 2 * kept
