"""Real processes that die: a SuperNode in the middle of a round, then the SuperLink."""

import pytest
from safetensors.torch import load_file

from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.runtime import CLIENT_APP, SERVER_APP
from fedlocal.report.runs import read_rows

# Drift correction: a round that is counted twice, or half, would show in the sum of drifts.
OVERRIDES = (
    "strategy=vrl_sgd K=2 H=3 rounds=7 dtype=float64 partition=label_blocks model.hidden=[8]"
    " device=cpu"
)


# Real machines that die and come back: one to three minutes each, most of it spent waiting. What a
# lost machine means is tested on nodes in this process, in test_nodes_faults.py.
@pytest.mark.flower
@pytest.mark.slow
def test_a_killed_node_and_a_killed_superlink_cost_nothing_but_time(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    composed = compose(OVERRIDES)
    run_job(build(composed.cfg), here, about(composed), None)

    config = {"overrides": OVERRIDES, "folder": str(there), "sweep": ""}
    app = write_app(tmp_path / "app", "faults", SERVER_APP, CLIENT_APP, config)
    nodes = [
        {"worker": str(tmp_path / f"w{i}"), "state": str(tmp_path / f"s{i}")} for i in range(2)
    ]
    with LocalDeployment(tmp_path / "keys", 2, nodes) as deployment:
        lines = deployment.run(app)
        for line in lines:
            print(line)
            if line.startswith("round 2/7"):
                deployment.stop_node(1)
                deployment.expire_node(1)
                deployment.start_node(1)
            if line.startswith("round 4/7"):
                break
        deployment.stop_superlink()
        lines.close()
        deployment.start_superlink()
        assert [row["round"] for row in read_rows(there)][:4] == [1, 2, 3, 4]
        for line in deployment.run(app):
            print(line)

    weights = [load_file(folder / "model.safetensors") for folder in (here, there)]
    for key, value in weights[0].items():
        assert float((weights[1][key] - value).abs().max()) < 1e-12
    for ours, theirs in zip(read_rows(there), read_rows(here), strict=True):
        counted = ("round", "local_steps", "answered", "uplink_bytes", "downlink_bytes")
        assert [ours[key] for key in counted] == [theirs[key] for key in counted]


@pytest.mark.flower
@pytest.mark.slow
def test_a_node_that_never_comes_back_is_left_out(tmp_path):
    overrides = OVERRIDES.replace("vrl_sgd", "local_sgd").replace("rounds=7", "rounds=4")
    config = {"overrides": overrides, "folder": str(tmp_path / "run"), "sweep": ""}
    app = write_app(tmp_path / "app", "faults", SERVER_APP, CLIENT_APP, config)
    nodes = [{"worker": str(tmp_path / f"w{i}")} for i in range(2)]
    seen = []
    with LocalDeployment(tmp_path / "keys", 2, nodes) as deployment:
        for line in deployment.run(app):
            seen.append(line)
            if line.startswith("round 1/4"):
                deployment.stop_node(1)
                deployment.expire_node(1)
    rows = read_rows(tmp_path / "run")
    assert len(rows) == 4 and rows[0]["answered"] == 2 and rows[-1]["answered"] == 1
    # An absent client's bytes are not counted.
    sent = [row["uplink_bytes"] for row in rows]
    assert sent[3] - sent[2] == sent[0] // 2
    assert any("has not answered" in line for line in seen)
