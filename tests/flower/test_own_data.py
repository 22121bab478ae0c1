"""Machines with data of their own: the run is the one over the same examples in one place."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedlocal
from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.flower.client_app import app as client_app
from fedlocal.flower.inprocess import run_in_process
from fedlocal.flower.server_app import app as server_app
from fedlocal.objective.losses import CrossEntropy
from fedlocal.report.runs import read_rows

COMMON = (
    "dataset=on_nodes dataset.input_shape=[4] dataset.num_classes=3 K=3 H=2 rounds=3"
    " batch_size=4 dtype=float64 model=mlp model.hidden=[5] runtime=loop strategy=fedavg"
)
SIZES = (9, 5, 12)


@pytest.fixture
def machines(tmp_path):
    """Three machines' data: an npz, a CSV, an npz; and what they hold."""
    rng = np.random.default_rng(0)
    paths, held = [], []
    for i, size in enumerate(SIZES):
        x = rng.standard_normal((size, 4)).astype(np.float32)
        y = rng.integers(0, 3, size)
        if i == 1:
            path = tmp_path / f"{i}.csv"
            rows = [",".join(map(repr, map(float, a))) + f",{b}" for a, b in zip(x, y, strict=True)]
            path.write_text("\n".join(["a,b,c,d,y", *rows]) + "\n")
        else:
            path = tmp_path / f"{i}.npz"
            np.savez(path, x=x, y=y)
        paths.append({"data": str(path)})
        held.append((torch.from_numpy(x), torch.from_numpy(y)))
    return paths, held


def run(tmp_path, overrides, configs):
    folder = tmp_path / "run"
    config = {"overrides": overrides, "folder": str(folder), "sweep": ""}
    run_in_process(server_app, client_app, 3, config, configs)
    return folder


def test_same_as_in_one_place(tmp_path, machines):
    paths, held = machines
    test = tmp_path / "test.npz"
    np.savez(test, x=held[0][0].numpy(), y=held[0][1].numpy())
    overrides = f"{COMMON} dataset.test={test}"
    folder = run(tmp_path, overrides, paths)

    sim = build(compose(overrides).cfg).simulation
    here = fedlocal.simulate(
        sim.objective.model, held, sim.strategy, rounds=3, batch_size=4, test=held[0],
        dtype=torch.float64, device="cpu", runtime="loop",
    )  # fmt: skip
    weights = load_file(folder / "model.safetensors")
    for key, value in here.model.state_dict().items():
        assert torch.equal(weights[key], value)
    for row, expected in zip(read_rows(folder), here.history, strict=True):
        assert row["train_loss"] is None
        for key in ("local_loss", "test_loss", "test_accuracy", "uplink_bytes", "sim_seconds"):
            assert row[key] == expected[key], key
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["client_weights"] == list(SIZES)


def test_every_machine_needs_data(tmp_path, machines, caplog):
    paths, _ = machines
    overrides = f"{COMMON} runtime=flower runtime.patience_seconds=6"
    with pytest.raises(Exception, match=r"partitions \[2\] of 3"):
        run(tmp_path, overrides, [*paths[:2], {}])
    assert "dataset=on_nodes needs that of every SuperNode" in caplog.text


def test_a_label_out_of_range_is_said_by_the_machine(tmp_path, machines, caplog):
    paths, held = machines
    np.savez(tmp_path / "bad.npz", x=held[0][0].numpy(), y=np.full(9, 7))
    overrides = f"{COMMON} runtime=flower runtime.patience_seconds=6"
    with pytest.raises(Exception, match=r"partitions \[0\] of 3"):
        run(tmp_path, overrides, [{"data": str(tmp_path / "bad.npz")}, *paths[1:]])
    assert "7" in caplog.text and "this machine cannot build the run" in caplog.text


def test_as_many_clients_as_machines(tmp_path, machines):
    with pytest.raises(Exception, match="give K=3 instead of K=4"):
        run(tmp_path, COMMON.replace("K=3", "K=4"), machines[0])


def test_names_of_classes_are_the_same_everywhere(tmp_path, machines, caplog):
    # Each machine holds other classes: sorted by itself, each would begin at 0.
    rng = np.random.default_rng(1)
    (tmp_path / "names.txt").write_text("ant\nbee\ncow\n")
    configs, held = [], []
    for i, names in enumerate((["cow", "bee"], ["ant", "cow"], ["bee", "bee"])):
        x = rng.standard_normal((2, 4)).astype(np.float32)
        np.savez(tmp_path / f"named{i}.npz", x=x, y=np.array(names))
        configs.append(
            {"data": str(tmp_path / f"named{i}.npz"), "classes": str(tmp_path / "names.txt")}
        )
        held.append((torch.from_numpy(x), torch.tensor(["abc".index(name[0]) for name in names])))
    folder = run(tmp_path, COMMON, configs)
    sim = build(compose(COMMON).cfg).simulation
    here = fedlocal.simulate(
        sim.objective.model, held, sim.strategy, rounds=3, batch_size=4,
        dtype=torch.float64, device="cpu", runtime="loop",
    )  # fmt: skip
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[k], v) for k, v in here.model.state_dict().items())


def test_two_machines_with_one_partition(tmp_path, machines, caplog):
    configs = [*machines[0][:2], machines[0][2] | {"partition-id": 0}]
    overrides = f"{COMMON} runtime=flower runtime.patience_seconds=6"
    with pytest.raises(Exception, match=r"partitions \[2\] of 3"):
        run(tmp_path, overrides, configs)
    assert "partition 0 is on node" in caplog.text


OWN = f"{COMMON} model=own model._target_=tests.flower.own_model.Net"
OWN = OWN.replace("model=mlp model.hidden=[5] ", "")
WEIGHTED = "loss=cross_entropy loss.class_weights=[0.5,2,1]"
EMPTY = ("train_loss", "test_loss", "test_accuracy")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"buffers": "frozen"},
        {"buffers": "personal"},
        {"personal": ["head"]},
        # Statistics of inputs, which are zeros where they are not held.
        {"layers": ["inputs"]},
        {"layers": ["dropout"], "frozen": ["body.1"], "l2": 0.1},
    ],
    ids=str,
)
def test_models_with_parts_of_their_own(tmp_path, machines, options):
    paths, held = machines
    test = tmp_path / "test.npz"
    np.savez(test, x=held[0][0].numpy(), y=held[0][1].numpy())
    words = [f"{'+' * (key == 'layers')}model.{key}={value}" for key, value in options.items()]
    overrides = " ".join([OWN, WEIGHTED, f"dataset.test={test}", *words]).replace("', '", "','")
    folder = run(tmp_path, overrides, paths)

    sim = build(compose(overrides).cfg).simulation
    here = fedlocal.simulate(
        sim.objective.model, held, sim.strategy, rounds=3, batch_size=4, test=held[0],
        loss=CrossEntropy([0.5, 2, 1]), dtype=torch.float64, device="cpu", runtime="loop",
        **{key: value for key, value in options.items() if key != "layers"},
    )  # fmt: skip
    weights = load_file(folder / "model.safetensors")
    for key, value in here.model.state_dict().items():
        assert torch.equal(weights[key], value), key
    assert not torch.equal(here.params, sim.start)
    personal = "personal" in (options.get("buffers"), *options)
    for row, expected in zip(read_rows(folder), here.history, strict=True):
        for key in row.keys() - {"wall_seconds"}:
            away = key in (EMPTY if personal else ["train_loss"])
            assert row[key] == (None if away else expected[key]), key
            assert expected[key] is not None


def test_whose_examples_are_here(machines):
    overrides = " ".join(OWN.split())
    assert build(compose(overrides).cfg).simulation.clients.here == ()
    data = machines[0][1]["data"]
    sim = build(compose(f"{overrides} dataset.own={data} dataset.own_client=1").cfg).simulation
    assert sim.clients.here == (1,)
    assert len(sim.clients.examples(1)) == SIZES[1]
    # Nor is there a train loss where some examples are placeholders.
    assert sim.train is None


def test_a_machine_with_too_few_examples_says_so(tmp_path, machines, caplog):
    paths, held = machines
    np.savez(tmp_path / "one.npz", x=held[2][0][:1].numpy(), y=held[2][1][:1].numpy())
    overrides = f"{OWN} runtime=flower runtime.patience_seconds=6"
    with pytest.raises(Exception, match=r"partitions \[2\] of 3"):
        run(tmp_path, overrides, [*paths[:2], {"data": str(tmp_path / "one.npz")}])
    assert "cannot build the run: the model fails on a batch of shape [1, 4]" in caplog.text


def test_more_machines_than_clients(tmp_path, machines, caplog):
    overrides = f"{COMMON} runtime=flower runtime.patience_seconds=6".replace("K=3", "K=2")
    with pytest.raises(Exception, match=r"partitions \[2\] of 3"):
        run(tmp_path, overrides, machines[0])
    assert "the partition id 2, and K=2 has the clients 0 to 1; each machine is a" in caplog.text


REFUSED = {
    "loss=cross_entropy loss.class_weights=balanced": "needs all labels in one place",
    "partition=iid": r"partition: client \d would hold examples of client \d, which are on another"
    " machine; dataset on_nodes needs partition=natural",
    "goal.metric=train_loss goal.target=0.5": "goal.metric=train_loss is empty in every row, as"
    " the training examples stay on their machines; use goal.metric=local_loss, the loss while"
    " clients train",
    "period=adacomm period.loss=train_loss strategy=local_sgd": "AdaComm with loss=train_loss is"
    " empty in every row, as the training examples stay on their machines; use loss=local_loss",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_needs_the_examples_is_refused(given):
    with pytest.raises(ConfigError, match=REFUSED[given]) as refusal:
        build(compose(f"{COMMON.replace('strategy=fedavg', '')} {given}").cfg)
    assert "\n" not in str(refusal.value)


def test_a_goal_is_about_the_servers_test_set(tmp_path, machines):
    paths, held = machines
    test = tmp_path / "test.npz"
    np.savez(test, x=held[0][0].numpy(), y=held[0][1].numpy())
    goal = "goal.metric=test_accuracy goal.target=0 runtime=flower runtime.patience_seconds=6"
    folder = run(tmp_path, f"{COMMON} dataset.test={test} {goal}", paths)
    assert json.loads((folder / "summary.json").read_text())["rounds_to_target"] == 1
