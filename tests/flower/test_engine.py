import json
import os
import socket
from functools import partial
from pathlib import Path

import pytest

from fedlocal.flower import engine as module
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.engine import Engine, EngineError, run_app
from fedlocal.flower.isolation import free_port, new_home, private_environment

# Found only because the app's processes get this process' sys.path.
APP = r"""
import json, os, time
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server, failing = ClientApp(), ServerApp(), ServerApp()


@client.train()
def train(message, context):
    rounds = context.state.get("rounds", MetricRecord({"n": 0}))["n"] + 1
    context.state["rounds"] = MetricRecord({"n": rounds})
    x = message.content["x"].to_numpy_ndarrays()[0]
    numbers = MetricRecord({"rounds": rounds, "node": context.node_config["partition-id"],
                            "nodes": context.node_config["num-partitions"]})
    answer = ArrayRecord([x + numbers["node"] + 1])
    return Message(RecordDict({"x": answer, "numbers": numbers}), reply_to=message)


@server.main()
def main(grid, context):
    x, numbers = np.zeros(3), []
    # The engine starts the ServerApp and makes its nodes known side by side.
    while len(list(grid.get_node_ids())) < 2:
        time.sleep(0.02)
    for _ in range(3):
        content = RecordDict({"x": ArrayRecord([x])})
        calls = [Message(content, node, "train") for node in grid.get_node_ids()]
        replies = [reply.content for reply in grid.send_and_receive(calls)]
        x = np.mean([reply["x"].to_numpy_ndarrays()[0] for reply in replies], axis=0)
        numbers.append(sorted(map(dict, (r["numbers"] for r in replies)), key=lambda n: n["node"]))
        # In one piece, so that no other thread's output comes between.
        print(f"mean is now {x[0]}\n", end="")
        while not os.path.exists("go"):
            time.sleep(0.02)
    found = {"x": x.tolist(), "numbers": numbers, "config": context.run_config,
             "home": os.environ["FLWR_HOME"], "here": os.getcwd()}
    with open("found.json", "w") as file:
        json.dump(found, file)


@failing.main()
def fail(grid, context):
    print("shortly before\n", end="")
    with open("home.txt", "w") as file:
        file.write(os.environ["FLWR_HOME"])
    raise LookupError("no tea, no 'biscuits'")
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
TOLD = "FEDLOCAL_TEST_OF_THE_ENGINE"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the app's module is found, and where it writes."""
    (tmp_path / "engine_app.py").write_text(APP)
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(TOLD, tmp_path.name)
    # A cluster that is none of ours, and logging that hides what a SuperLink says.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("FLWR_LOG_LEVEL", "WARNING")
    return tmp_path / "here"


def app_of(here, server="server", config=None):
    folder, module = here.parent / "app", "engine_app"
    return write_app(folder, "tiny", f"{module}:{server}", f"{module}:client", config)


def ours(here) -> set[int]:
    """The process groups of all that inherited this test's variable and still runs."""
    groups = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = f"{TOLD}={here.parent.name}".encode() in (folder / "environ").read_bytes()
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if told and state != "Z" and int(group) != os.getpgrp():
            groups.add(int(group))
    return groups


def members(groups) -> list[str]:
    """Names of the processes in these groups: Ray's workers overwrite their environment."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        if rest.split()[0] != "Z" and int(rest.split()[2]) in groups:
            names.append(name.partition("(")[2])
    return sorted(names)


def once_each(commands, *given):
    """The command of the last of these functions, which is not called again."""
    return commands.pop()(*given)


@pytest.mark.flower
@needs_proc
def test_an_app_runs_to_its_end(here, monkeypatch):
    config = {"word": 'a "b" = \\ ,\n é', "lr": 0.5, "steps": 3, "nesterov": True}
    lines, seen = [], set()

    def on_line(line):
        lines.append(line)
        if line.startswith("mean is now"):
            seen.update(members(ours(here)))
            (here / "go").touch()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [free_port(), taken.getsockname()[1]]
        monkeypatch.setattr(module, "free_port", ports.pop)
        # At the port that is taken the SuperLink alone need be real.
        for name in ("_superexec", "_flwr_run"):
            commands = [getattr(module, name), lambda *_: ["cat"]]
            monkeypatch.setattr(module, name, partial(once_each, commands))
        run_app(app_of(here, config=config), Engine(supernodes=2), on_line)
    assert not ports, "the port that was taken is no reason to fail"
    found = json.loads((here / "found.json").read_text())
    assert found["x"] == [4.5, 4.5, 4.5]
    assert found["config"] == config
    assert found["here"] == str(here)
    # A node's state is there in the next round, whichever actor works for it.
    assert found["numbers"] == [
        [{"rounds": r, "node": node, "nodes": 2} for node in (0, 1)] for r in (1, 2, 3)
    ]
    means = [line for line in lines if line.startswith("mean is now")]
    assert means == ["mean is now 1.5", "mean is now 3.0", "mean is now 4.5"]
    assert {"raylet", "gcs_server"} <= seen
    assert ours(here) == set()
    assert not Path(found["home"]).exists()


@pytest.mark.flower
@needs_proc
def test_a_failing_app_is_an_error_with_its_reason_and_leaves_nothing(here):
    groups = set()
    app = app_of(here, server="failing")
    with pytest.raises(EngineError) as raised:
        run_app(app, Engine(supernodes=1), lambda _: groups.update(ours(here)))
    first, *tail = str(raised.value).splitlines()
    assert first == "the Flower run has failed: LookupError: no tea, no 'biscuits'"
    assert "shortly before" in tail and any("in fail" in line for line in tail)
    assert len(groups) == 1
    assert members(groups) == [] and ours(here) == set()
    assert not Path((here / "home.txt").read_text()).exists()


@pytest.mark.flower
@needs_proc
def test_an_interrupted_run_leaves_nothing(here):
    groups = set()

    def interrupt(line):
        groups.update(ours(here))
        if "Starting Flower Simulation" in line or "Successfully installed" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_app(app_of(here), Engine(), interrupt)
    assert len(groups) == 1
    assert members(groups) == [] and ours(here) == set()


@pytest.mark.parametrize(
    ("engine", "cores", "config"),
    [
        (Engine(), 8, (2, 1, 0.0, 2)),
        (Engine(supernodes=32), 8, (32, 1, 0.0, 8)),
        (Engine(supernodes=3, cpus=2), 64, (3, 2, 0.0, 6)),
        (Engine(supernodes=4, gpus=0.25), 4, (4, 1, 0.25, 4)),
        # More than there are: Ray only counts, and without an actor nothing would run.
        (Engine(supernodes=4, cpus=16), 2, (4, 16, 0.0, 16)),
    ],
)
def test_what_flower_is_told_of_the_nodes(engine, cores, config, monkeypatch):
    monkeypatch.setattr(module, "_cores", lambda: cores)
    keys = "num-supernodes", "client-resources-num-cpus", "client-resources-num-gpus"
    pairs = zip((*keys, "init-args-num-cpus"), config, strict=True)
    assert engine.federation_config() == " ".join(f"{key}={value}" for key, value in pairs)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"supernodes": 0}, "supernodes must be >= 1, got 0"),
        ({"cpus": 0}, "cpus must be a whole number >= 1, got 0"),
        ({"cpus": 1.5}, "got 1.5"),
        ({"gpus": -1}, "gpus must be >= 0, got -1; 0.5 lets two share one"),
    ],
)
def test_an_engine_that_cannot_run_is_refused(given, hint):
    with pytest.raises(ValueError, match=hint):
        Engine(**given)


def test_a_superlink_that_does_not_start_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "_superlink", lambda port: ["sh", "-c", "echo no such luck; exit 3"]
    )
    with pytest.raises(EngineError, match="has not started:\nno such luck"):
        run_app(write_app(tmp_path, "tiny", "a:b", "c:d"))


def test_the_environment_of_a_run_is_its_own(monkeypatch):
    monkeypatch.setenv("PATH", "/some/where")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("OTHER", "kept")
    monkeypatch.syspath_prepend("/a/place")
    one = private_environment(Path("/tmp/one"))
    assert (one["FLWR_HOME"], one["RAY_TMPDIR"], one["OTHER"]) == ("/tmp/one", "/tmp/one", "kept")
    assert one["PATH"].endswith(":/some/where")
    assert one["NO_PROXY"] == one["no_proxy"] == "example.org,127.0.0.1"
    assert one["PYTHONPATH"].startswith("/a/place:")
    assert os.environ["PATH"] == "/some/where"


def test_a_home_is_short_enough_for_sockets(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    homes = [new_home(), new_home()]
    assert len(set(homes)) == 2
    for home in homes:
        assert len(str(home)) < 32
        home.rmdir()
