import csv
import json
from inspect import signature
from math import isnan
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import load_file

from fedlocal.cli import run_files
from fedlocal.config.build import model_maker
from fedlocal.models import mlp
from fedlocal.report.curves import draw
from fedlocal.report.runs import read_runs
from fedlocal.report.tables import tabulate
from fedlocal.rounds.fingerprint import params_sha256
from partitions.storage import digest, load_npz
from tests.choices import sample

COLUMNS = (
    "round local_steps period train_loss test_loss test_accuracy uplink_bytes downlink_bytes"
    " sim_seconds wall_seconds"
).split()
QUICK = ("dataset=quadratic", "K=3", "H=2", "rounds=2")
CONF = Path(__file__).parents[2] / "conf"


def only_run(here: Path) -> Path:
    (folder,) = {path.parent for path in here.rglob("summary.json")}
    return folder


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def composed(*overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_defaults_finish_and_a_pipe_gets_plain_text(shell, here):
    outcome = shell()
    assert outcome.code == 0 and outcome.err == ""
    assert all(c.isprintable() or c == "\n" for c in outcome.out)
    rows = rows_of(only_run(here))
    assert len(rows) == 100 and rows[-1]["local_steps"] == "1000"
    assert float(rows[-1]["test_accuracy"]) > 0.8
    assert [p.name for p in here.iterdir()] == ["outputs"]


def test_metrics_are_cumulative_and_empty_where_not_evaluated(cli, here):
    assert cli("K=3", "H=4", "rounds=5", "evaluate.every=3").code == 0
    rows = rows_of(only_run(here))
    assert set(COLUMNS) <= set(rows[0])
    assert [row["round"] for row in rows] == list("12345")
    assert [row["local_steps"] for row in rows] == ["4", "8", "12", "16", "20"]
    assert {row["period"] for row in rows} == {"4"}
    for key in ("uplink_bytes", "downlink_bytes", "sim_seconds", "wall_seconds"):
        values = [float(row[key]) for row in rows]
        assert values == sorted(set(values)) and values[0] > 0
    # Every third round, and the last.
    for key in ("train_loss", "test_loss", "test_accuracy"):
        assert [bool(row[key]) for row in rows] == [False, False, True, False, True]


def test_run_folder_is_complete_and_fingerprints_match(cli, here, monkeypatch):
    monkeypatch.setattr(run_files, "draw", draw)
    assert cli("K=3", "H=2", "rounds=2", "seed=4", "model.hidden=[16]").code == 0
    folder = only_run(here)
    summary = summary_of(folder)
    last = rows_of(folder)[-1]
    assert [str(summary[key]) for key in COLUMNS] == [last[key] for key in COLUMNS]
    assert summary["seed"] == 4 and summary["config"]["model"]["hidden"] == [16]
    assert summary["choices"]["strategy"] == "local_sgd"
    assert {"fedlocal", "torch", "numpy", "python"} <= set(summary["versions"])

    assert digest(load_npz(folder / "partition.npz")) == summary["partition_sha256"]
    model = mlp((64,), 10, hidden=[16])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert params_sha256(flat) == summary["params_sha256"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_no_accuracy_where_targets_are_no_classes(cli, here):
    assert cli(*QUICK).code == 0
    folder = only_run(here)
    assert {row["test_accuracy"] + row["test_loss"] for row in rows_of(folder)} == {""}
    assert summary_of(folder)["test_accuracy"] is None


def test_same_overrides_same_parameters(summary):
    first, again = (summary(*QUICK, name=name)["params_sha256"] for name in "ab")
    other = summary(*QUICK, "dataset.seed=0", "seed=1", name="c")
    assert first == again != other["params_sha256"]


def test_runtimes_agree_in_float64(summary):
    common = ("K=3", "H=4", "rounds=3", "dtype=float64")
    loop, vmapped = (summary(*common, f"runtime={name}", name=name) for name in ("loop", "vmapped"))
    for key in ("train_loss", "test_loss"):
        assert loop[key] == pytest.approx(vmapped[key], abs=1e-12, rel=0)
    assert loop["versions"] == vmapped["versions"]


def test_a_strategy_chooses_its_links_and_the_command_line_wins(summary):
    chosen = summary("strategy=double_compression", *QUICK, name="chosen")
    assert (chosen["choices"]["uplink"], chosen["choices"]["downlink"]) == ("topk", "topk")
    given = summary("strategy=double_compression", "uplink=qsgd", *QUICK, name="given")
    assert (given["choices"]["uplink"], given["choices"]["downlink"]) == ("qsgd", "topk")
    assert given["config"]["strategy"]["uplink"]["compressor"]["levels"] == 16
    assert given["uplink_bytes"] > chosen["uplink_bytes"]


def test_any_strategy_compresses(summary):
    quantised = summary("strategy=local_sgd", "uplink=qsgd", *QUICK, name="quantised")
    plain = summary(*QUICK, name="plain")
    assert quantised["uplink_bytes"] < plain["uplink_bytes"]
    assert quantised["downlink_bytes"] == plain["downlink_bytes"]


def test_redundant_partition_says_so(cli, here):
    outcome = cli(
        "partition=redundant", "partition@partition.base=dirichlet", "partition.base.alpha=0.5",
        "partition.mu=0.3", "K=4", "rounds=1",
    )  # fmt: skip
    assert outcome.code == 0
    summary = summary_of(only_run(here))
    # Four clients each hold 0.3 of the 1437 examples more than their own.
    assert summary["redundant_examples"] == 4 * round(0.3 * 1437)
    assert f"{summary['redundant_examples']} examples are held by more than one" in outcome.out
    assert sum(summary["client_weights"]) == pytest.approx(1437, abs=1e-3)


@pytest.mark.parametrize("dataset, model", [("quadratic", "linear"), ("synthetic", "mlp")])
def test_generated_data_choose_their_partition(summary, dataset, model):
    choices = summary(f"dataset={dataset}", "K=3", "rounds=1")["choices"]
    assert (choices["partition"], choices["model"]) == ("natural", model)
    other = composed(f"dataset={dataset}", "partition=iid")
    assert other.partition._target_ == "partitions.iid"


def test_experiment():
    cfg = composed("experiment=vrl_sgd_mnist", "dataset.root=DIR", "K=4")
    assert cfg.strategy._target_ == "strategies.vrl_sgd"
    assert cfg.model._target_ == "fedlocal.models.lenet5"
    assert (cfg.K, cfg.H, cfg.strategy.period, cfg.strategy.lr) == (4, 20, 20, 0.005)


def options(*groups: str) -> list[str]:
    return [f"{group}={path.stem}" for group in groups for path in (CONF / group).glob("*.yaml")]


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name[0] != "_")
APART = ("dataset", "experiment", "loss", "model", "partition")
BUILT = [group for group in GROUPS if group not in APART]


PICTURES = ["dataset=digits", "dataset.flat=false", "model=mlp"]

# What these options cannot do without.
GIVEN = {
    "clock=trace": ["clock.law.path=trace.csv"],
    "period=gaps": ["period.gaps=[1,2]"],
    "rate=stich": ["rate.strong_convexity=0.1", "rate.shift=200"],
    "augment=crop_flip": PICTURES,
    "augment=resized_crop": PICTURES,
    "partition=own": ["partition._target_=partitions.iid"],
    "model=own": ["model._target_=fedlocal.models.mlp"],
    "dataset=own": ["dataset._target_=fedlocal.data.digits"],
}


@pytest.mark.parametrize("option", sample(options(*BUILT), 3))
def test_every_option_builds(option, tmp_path, monkeypatch):
    from fedlocal.config.build import build

    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").write_text("0.1,0.2\n0.3,0.1\n")
    given = GIVEN.get(option, [])
    job = build(composed("dataset=quadratic", "K=4", "H=2", "rounds=2", option, *given))
    assert len(job.simulation.clients) == 4


@pytest.mark.parametrize("option", options("partition"))
def test_every_partition_builds(option):
    from fedlocal.config.build import build

    # Only generated data say where each example comes from.
    data = "dataset=synthetic" if option == "partition=natural" else "dataset=digits"
    job = build(composed(data, "K=4", option, *GIVEN.get(option, [])))
    assert len(job.partition.chunks) == 4


@pytest.mark.parametrize("option", options("model"))
def test_every_model_instantiates(option):
    make = model_maker(composed(option, *GIVEN.get(option, [])))
    if "num_tokens" in signature(make).parameters:
        assert make((9,), 10, 30)(torch.zeros(2, 9, dtype=torch.int64)).shape == (2, 10)
        return
    shape = (1, 28, 28) if option in ("model=lenet5", "model=cnn") else (3, 32, 32)
    assert make(shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("option", options("dataset", "experiment"))
def test_every_dataset_and_experiment_composes(option):
    given = GIVEN.get(option, [])
    cfg = composed(option, "++dataset.root=DIR", "++dataset.path=FILE", *given)
    assert cfg.dataset._target_.startswith("fedlocal.data.")


def test_a_diverged_run_leaves_strict_json(cli, here):
    assert cli(*QUICK, "lr=1e30", "rounds=8", "hydra.run.dir=run").code == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    summary = json.loads((here / "run/summary.json").read_text(), parse_constant=refuse)
    assert summary["diverged"] and summary["train_loss"] is None
    assert (here / "run/curves.png").exists()
    (row,) = tabulate(read_runs([here / "run"])).to_dict("records")
    assert isnan(row["train_loss"]) and row["test_accuracy"] is None


def test_a_finite_run_is_not_diverged(summary):
    found = summary(*QUICK)
    assert not found["diverged"] and found["train_loss"] > 0
