import csv
import hashlib
import json

import numpy as np
import pytest

from fedlocal.report.command import main as report
from fedlocal.report.units import bytes_per_second, seconds
from tests.report.folders import run_folder


def seconds_in(folder):
    with (folder / "summary.csv").open(newline="") as file:
        return {row["run"]: row["sim_seconds"] for row in csv.DictReader(file)}


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        report([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    return err


def fingerprint(folder):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*.*")}


@pytest.mark.parametrize(
    ("text", "value"),
    [("50ms", 0.05), ("3us", 3e-6), ("1.5 s", 1.5), ("0s", 0.0), ("1e-3s", 0.001),
     ("10ms,20ms", [0.01, 0.02])],
)  # fmt: skip
def test_times(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8bit", 1), ("8kbit", 1e3), ("100Mbit", 12.5e6), ("1Gbit/s", 125e6), ("3B", 3),
     ("2kB/s", 2e3), ("12.5MB", 12.5e6), (".5GB", 5e8), ("1MB,2MB", [1e6, 2e6])],
)  # fmt: skip
def test_bandwidths(text, value):
    assert bytes_per_second(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["50", "ms", "-1ms", "50 m", "50MS", "", "nan s", "1ms,"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time: write a number and one of us, ms, s"):
        seconds(text)


@pytest.mark.parametrize("text", ["100Mb", "100mbit", "100", "100Mbit/h", "inf"])
def test_what_is_no_bandwidth_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a bandwidth: .*, as in 100Mbit or 12\.5MB"):
        bytes_per_second(text)


def test_what_is_named_is_replaced_and_the_rest_stays(tmp_path):
    # Two clients in turn, of which the second is the slower.
    clock = {"clock": {"seconds_per_step": [0.01, 0.03]}}
    kept = run_folder(tmp_path / "runs/0", config=clock)
    before = fingerprint(tmp_path)
    report([str(kept), "--latency", "1s", "--bandwidth", "8kbit", "--out", str(tmp_path / "out")])
    # Three rounds of: a second and a kilobyte's second each way, and ten steps.
    assert seconds_in(tmp_path / "out") == {"0": str(3 * (2 + 2 + 0.3))}
    assert {path: before[path] for path in before} == fingerprint(tmp_path / "runs")
    summary = (tmp_path / "out/summary.csv").read_text()
    assert "clock.latency_seconds,clock.bandwidth_bytes" in summary and ",1,1000," in summary


def test_times_to_accuracy_follow(tmp_path):
    run_folder(tmp_path / "0", accuracies=(0.5, 0.9))
    report([str(tmp_path), "--seconds-per-step", "1s", "--target", "0.9", "--out",
            str(tmp_path / "out")])  # fmt: skip
    with (tmp_path / "out/target.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["seconds"]) == pytest.approx(2 * (10 + 0.1016))
    assert float(row["rounds"]) == 2


def test_by_default_the_files_go_beside_the_folder(tmp_path):
    run_folder(tmp_path / "sweep/0")
    before = fingerprint(tmp_path)
    report([str(tmp_path / "sweep"), "--latency", "1ms"])
    assert fingerprint(tmp_path / "sweep") == before
    assert "0" in seconds_in(tmp_path / "sweep-replayed")


def test_a_run_s_own_folder_is_no_place_for_other_seconds(tmp_path, capsys):
    run = run_folder(tmp_path / "0")
    err = refused(capsys, run, "--latency", "1ms", "--out", run)
    assert "is a run's folder, which keeps the seconds of its own clock" in err


def test_runs_whose_course_the_clock_decided_lose_their_seconds_and_are_named(tmp_path, capsys):
    run_folder(tmp_path / "a", "K=2")
    run_folder(tmp_path / "b", "K=3", clock_decided="a deadline decided who answered with what")
    report([str(tmp_path), "--latency", "1s", "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert "without seconds, since they cannot be timed again: a deadline decided" in err
    assert "(in b)" in err and "a clock with latency_seconds=1, not of the runs' own" in err
    timed = seconds_in(tmp_path / "out")
    assert float(timed["a"]) > 6 and timed["b"] == ""
    with (tmp_path / "out/target.csv").open(newline="") as file:
        rows = {row["K"]: row for row in csv.DictReader(file)}
    assert rows["3"]["seconds"] == "" and float(rows["3"]["rounds"]) == 3


def test_if_no_run_can_be_timed_again_nothing_is_written(tmp_path, capsys):
    run = run_folder(tmp_path / "a", clock_decided="the period followed the simulated seconds")
    err = refused(capsys, run, "--latency", "1s", "--out", tmp_path / "out")
    assert "no run can be timed under another clock: the period followed" in err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_ledger_is_not_timed(tmp_path, capsys):
    run = run_folder(tmp_path / "a")
    (run / "ledger.npz").unlink()
    assert "keeps no ledger" in refused(capsys, run, "--latency", "1s")


def test_a_clock_that_does_not_give_the_run_s_own_seconds_is_not_trusted(tmp_path, capsys):
    run = run_folder(tmp_path / "a")
    summary = json.loads((run / "summary.json").read_text())
    summary["config"]["clock"]["seconds_per_step"] = 0.02
    (run / "summary.json").write_text(json.dumps(summary))
    assert "do not give the seconds of its metrics.csv" in refused(capsys, run, "--latency", "1s")


def test_a_clock_whose_file_has_gone_is_said(tmp_path, capsys):
    np.save(tmp_path / "trace.npy", np.ones((1, 1)))
    run = run_folder(tmp_path / "a")
    summary = json.loads((run / "summary.json").read_text())
    law = {"_target_": "fedlocal.rounds.clock.read_trace", "path": str(tmp_path / "gone.npy")}
    summary["config"]["clock"]["law"] = law
    (run / "summary.json").write_text(json.dumps(summary))
    err = refused(capsys, run, "--latency", "1s")
    assert "the clock cannot be built again" in err and "gone.npy" in err


def test_a_value_that_no_clock_has_is_refused(tmp_path, capsys):
    assert "clock.bandwidth_bytes must be positive" in refused(
        capsys, run_folder(tmp_path / "a"), "--bandwidth", "0Mbit"
    )
