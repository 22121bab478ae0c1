"""`fedlocal -m runtime=flower`: a sweep in which every job runs on Flower's simulation engine."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fedlocal.report.runs import read_rows

COMMON = ("K=3", "H=2", "rounds=2", "model.hidden=[8]", "device=cpu", "dtype=float64")


def called(folder: Path, *arguments: str) -> str:
    fedlocal = Path(sys.executable).with_name("fedlocal")
    done = subprocess.run(
        [fedlocal, *arguments], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Two starts of the engine, each half a minute; one start is in tests/flower/test_parity.py.
@pytest.mark.flower
@pytest.mark.slow
def test_a_sweep_on_the_engine_is_the_sweep_in_one_process(tmp_path):
    for name, runtime in (("here", "vmapped"), ("there", "flower")):
        sweep = ("-m", "strategy=local_sgd,vrl_sgd", f"runtime={runtime}")
        out = called(tmp_path, *sweep, *COMMON, f"hydra.sweep.dir={name}")
        # Rounds are shown as they come.
        assert runtime == "vmapped" or "round 2/2  loss" in out
    for job in ("0", "1"):
        here, there = (tmp_path / name / job for name in ("here", "there"))
        files = {path.name for path in here.iterdir()}
        assert {path.name for path in there.iterdir()} == files
        weights = [load_file(folder / "model.safetensors") for folder in (here, there)]
        for key, value in weights[0].items():
            assert float((weights[1][key] - value).abs().max()) < 1e-12
        summary = json.loads((there / "summary.json").read_text())
        assert summary["choices"]["runtime"] == "flower"
    with (tmp_path / "there/summary.csv").open(newline="") as file:
        assert [row["strategy"] for row in csv.DictReader(file)] == ["local_sgd", "vrl_sgd"]


def test_engine_settings_are_checked_before_anything_starts(cli, here):
    line = cli("runtime=flower", "runtime.supernodes=0").refused
    assert line == "fedlocal: runtime: supernodes must be >= 1, got 0"
    assert not list(here.rglob("metrics.csv"))


# Two starts of the engine, each half a minute.
@pytest.mark.flower
@pytest.mark.slow
def test_a_killed_run_on_the_engine_goes_on_with_the_states_of_its_clients(start, shell, here):
    many = ("strategy=vrl_sgd", "uplink=topk", *COMMON, "rounds=12", "evaluate.every=1")
    assert shell(*many, "hydra.run.dir=whole").code == 0
    process = start(*many, "runtime=flower", "hydra.run.dir=cut")
    table = here / "cut/metrics.csv"
    while not table.exists() or len(table.read_text().splitlines()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = len(read_rows(here / "cut"))
    assert 2 < done < 12 and not (here / "cut/summary.json").exists()
    assert shell("resume=cut").code == 0
    rows = [read_rows(here / name) for name in ("whole", "cut")]
    for ours, theirs in zip(*rows, strict=True):
        assert ours["uplink_bytes"] == theirs["uplink_bytes"]
        assert abs(ours["local_loss"] - theirs["local_loss"]) < 1e-12
    weights = [load_file(here / name / "model.safetensors") for name in ("whole", "cut")]
    for key, value in weights[0].items():
        assert float((weights[1][key] - value).abs().max()) < 1e-12
    assert not (here / "cut/checkpoint").exists()
