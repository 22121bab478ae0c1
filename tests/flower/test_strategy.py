"""The Flower strategy under flwr's own loop, and the ServerApp, against the run in one process."""

import json
import logging

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from safetensors.torch import load_file

from fedlocal.api import finish
from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.config.errors import ConfigError
from fedlocal.flower.client_app import app as client_app
from fedlocal.flower.inprocess import run_in_process
from fedlocal.flower.server_app import _show_warnings
from fedlocal.flower.server_app import app as server_app
from fedlocal.flower.strategy import FedLocal
from fedlocal.report.runs import read_rows
from fedlocal.rounds.checkpoint import save_checkpoint
from fedlocal.rounds.run_loop import initial_progress, run
from fedlocal.rounds.state import consensus

COMMON = "K=5 H=3 rounds=3 dtype=float64 partition=label_blocks model.hidden=[8] runtime=loop"


def driven(overrides: str, arrays=lambda strategy: strategy.initial_arrays()):
    """A run under flwr's own `start`: the strategy, and flwr's result."""
    found = []
    app = ServerApp()

    @app.main()
    def main(grid, context):
        strategy = FedLocal(overrides, patience_seconds=60)
        found.append(strategy)
        found.append(strategy.start(grid, arrays(strategy), num_rounds=3))

    run_in_process(app, client_app, 2, {"overrides": overrides})
    return found


@pytest.mark.parametrize("name", ["vrl_sgd", "easgd", "double_compression"])
def test_flwrs_own_loop_drives_it(name):
    overrides = f"{COMMON} strategy={name}"
    _, result = driven(overrides)
    sim = build(compose(overrides).cfg).simulation
    state, history, _ = run(sim, initial_progress(sim))
    for key, value in sim.objective.spec.named(consensus(sim, state)).items():
        np.testing.assert_array_equal(result.arrays[key].numpy(), value.numpy())
    for t, row in enumerate(history, start=1):
        metrics = result.train_metrics_clientapp[t]
        same = ("uplink_bytes", "downlink_bytes", "train_loss", "test_accuracy", "sim_seconds")
        assert [metrics[key] for key in same] == [row[key] for key in same]


EMPTY = {"train_loss": None, "test_loss": None, "test_accuracy": None}
OWN = "model=own model._target_=tests.flower.own_model.Net loss=cross_entropy"
OWN_COMMON = f"{COMMON} {OWN}".replace("model.hidden=[8] ", "")


def test_its_arrays_have_the_averaged_buffers():
    overrides = f"{OWN_COMMON} partition=iid strategy=local_sgd"
    _, result = driven(overrides)
    sim = build(compose(overrides).cfg).simulation
    model = finish(sim, run(sim, initial_progress(sim))).model
    assert list(result.arrays) and sorted(result.arrays) == sorted(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(torch.from_numpy(result.arrays[key].numpy()), value), key


def test_personal_parts_are_in_no_array():
    overrides = f"{OWN_COMMON} partition=iid model.personal=[head] model.buffers=personal"
    strategy, result = driven(overrides)
    assert [key for key in result.arrays if "head" in key or "running" in key] == []
    assert {key for key in result.arrays} == set(strategy.sim.objective.spec.names)


@pytest.mark.parametrize(
    ("given", "column"),
    [
        ("goal.target=0.5", "goal.metric=test_accuracy"),
        ("goal.metric=train_loss goal.patience=2", "goal.metric=train_loss"),
        ("period=adacomm period.loss=train_loss", "AdaComm with loss=train_loss"),
    ],
)
@pytest.mark.parametrize("parts", ["model.personal=[head]", "model.buffers=personal"])
def test_nobody_waits_for_an_empty_column(tmp_path, given, column, parts):
    overrides = f"{OWN_COMMON} partition=iid strategy=local_sgd {parts} {given}"
    # In one process the columns are there.
    assert build(compose(overrides).cfg).simulation.has_personal
    line = f"{column} is empty in every row, as the personal parts of the model stay on"
    with pytest.raises(ConfigError, match=line) as refusal:
        build(compose(overrides.replace("runtime=loop", "runtime=flower")).cfg)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=line):
        run_in_process(server_app, client_app, 2, {"overrides": overrides, "folder": str(tmp_path)})


def test_columns_that_stay_empty_are_said(tmp_path, caplog, capsys):
    overrides = f"{OWN_COMMON} partition=iid strategy=local_sgd model.personal=[head]"
    config = {"overrides": f"{overrides} goal.metric=local_loss goal.target=0.001"}
    run_in_process(server_app, client_app, 2, config | {"folder": str(tmp_path)})
    rows = read_rows(tmp_path)
    empty = ("train_loss", "test_loss", "test_accuracy")
    assert [row[key] for row in rows for key in empty] == [None] * 9
    text = "the columns train_loss, test_loss, test_accuracy stay empty"
    assert caplog.text.count(text) == 1
    assert f"round 3/3  local loss {rows[-1]['local_loss']:.4g}" in capsys.readouterr().out


def test_a_server_app_that_dies_goes_on_with_parts_of_its_own(tmp_path, monkeypatch):
    given = "partition=iid model.personal=[head] loss.class_weights=balanced strategy=local_sgd"
    dies_and_goes_on(tmp_path, monkeypatch, f"{OWN_COMMON} {given} rounds=5", EMPTY)


def test_another_start_is_refused():
    def zeros(strategy):
        arrays = strategy.initial_arrays()
        return ArrayRecord({key: torch.zeros(array.shape) for key, array in arrays.items()})

    with pytest.raises(ValueError, match="initial_arrays differ from the configured model"):
        driven(COMMON, zeros)


def test_the_server_app_leaves_the_same_folder(tmp_path):
    overrides = f"{COMMON} strategy=slowmo"
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    composed = compose(overrides)
    run_job(build(composed.cfg), here, about(composed), None)
    config = {"overrides": overrides, "folder": str(there), "sweep": ""}
    run_in_process(server_app, client_app, 3, config)

    names = {path.name for path in here.iterdir()}
    assert {path.name for path in there.iterdir()} == names
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (here, there)]
    assert summaries[0].pop("wall_seconds") > 0 and summaries[1].pop("wall_seconds") > 0
    assert summaries[0] == summaries[1]
    tables = [read_rows(folder) for folder in (here, there)]
    for ours, theirs in zip(*tables, strict=True):
        assert {**ours, "wall_seconds": 0} == {**theirs, "wall_seconds": 0}
    weights = [load_file(folder / "model.safetensors") for folder in (here, there)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_overrides_that_make_no_run_end_it_in_words():
    config = {"overrides": "strategy=nonsense", "folder": "", "sweep": ""}
    with pytest.raises(Exception, match="there is no strategy=nonsense"):
        run_in_process(server_app, client_app, 2, config)


def test_a_server_app_that_dies_goes_on_where_it_was(tmp_path, monkeypatch):
    dies_and_goes_on(tmp_path, monkeypatch, f"{COMMON} strategy=vrl_sgd rounds=5", {})


def dies_and_goes_on(tmp_path, monkeypatch, overrides, empty):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    composed = compose(overrides)
    run_job(build(composed.cfg), here, about(composed), None)
    # The nodes' folders outlive the run that is broken off.
    nodes = [{"state": str(tmp_path / f"node{i}")} for i in range(3)]
    config = {"overrides": overrides, "folder": str(there), "sweep": ""}

    def dies(checkpoint_folder, checkpoint):
        # After the clients have worked and before anybody knows: the nodes are a round ahead.
        if checkpoint.progress.state.round_index == 3:
            raise OSError("the machine has gone")
        save_checkpoint(checkpoint_folder, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr("fedlocal.cli.run.save_checkpoint", dies)
        with pytest.raises(Exception, match="the machine has gone"):
            run_in_process(server_app, client_app, 3, config, nodes)
    assert len(read_rows(there)) == 3
    run_in_process(server_app, client_app, 3, config, nodes)
    weights = [load_file(folder / "model.safetensors") for folder in (here, there)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    tables = [read_rows(folder) for folder in (here, there)]
    for ours, theirs in zip(*tables, strict=True):
        assert {**ours, "wall_seconds": 0, **empty} == {**theirs, "wall_seconds": 0}


def test_a_folder_of_another_run_is_left_alone(tmp_path):
    config = {"overrides": f"{COMMON} rounds=1", "folder": str(tmp_path / "run"), "sweep": ""}
    run_in_process(server_app, client_app, 2, config)
    config["overrides"] += " seed=1"
    with pytest.raises(Exception, match="holds another run: seed: 0 -> 1"):
        run_in_process(server_app, client_app, 2, config)


def test_warnings_say_that_they_are_some(monkeypatch, capsys):
    # A process of Flower has no log handlers.
    ours = logging.getLogger("fedlocal")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", False)
    for _ in range(2):
        _show_warnings()
    logging.getLogger("fedlocal.somewhere").warning("client %d is refused", 3)
    # The engine's user sees the lines that have the word.
    assert capsys.readouterr().err == "WARNING :   client 3 is refused\n"
