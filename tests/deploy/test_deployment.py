"""Real SuperLinks and SuperNodes on loopback: a run, its refusals, its commands."""

import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pytest

from fedlocal.flower.deploy import programs
from fedlocal.flower.deploy.doctor import examine
from fedlocal.flower.deploy.folders import create_deployment, renew
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.deploy.processes import find_marked, kill, new_mark, start
from fedlocal.flower.deploy.settings import load_node
from fedlocal.flower.isolation import free_port
from fedlocal.flower.worker_node import PROC, process
from tests.flower import parity
from tests.flower.test_supernode import until, with_word

pytestmark = pytest.mark.flower

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tiny"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedlocal"

[tool.flwr.app.components]
serverapp = "tiny.server:app"
clientapp = "tiny.client:app"

[tool.flwr.app.config]
start = 0.0
nodes = 2
note = ""
"""

SERVER = """
import time

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < context.run_config["nodes"]:
        time.sleep(0.1)
    content = RecordDict({"x": ArrayRecord([np.full(3, context.run_config["start"])])})
    for reply in grid.send_and_receive([Message(content, node, "train") for node in nodes]):
        if reply.has_error():
            raise RuntimeError(reply.error)
        print("answer", reply.content["x"].to_numpy_ndarrays()[0].tolist(), flush=True)
    print("note", context.run_config["note"], flush=True)
"""

CLIENT = """
import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    x = message.content["x"].to_numpy_ndarrays()[0]
    own = np.load(context.node_config["data"])["x"].sum()
    if own < 0:
        raise ValueError("negative data")
    change = np.array([context.node_config["partition-id"], own, 1.0])
    return Message(RecordDict({"x": ArrayRecord([x + change])}), reply_to=message)
"""


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "app/tiny"
    folder.mkdir(parents=True)
    (folder.parent / "pyproject.toml").write_text(PROJECT)
    for name, text in (("__init__", ""), ("server", SERVER), ("client", CLIENT)):
        (folder / f"{name}.py").write_text(text)
    return folder.parent


def data(path, value):
    np.savez(path, x=np.full((2, 2), value))
    return {"data": str(path)}


def answers(lines):
    return sorted(line for line in lines if line.startswith("answer"))


# One deployment for all of this, since its programs take ten seconds to start, and a run as long.
def test_a_run_with_tls_and_authentication(tmp_path, place):
    configs = [
        {key: str(place / f"{key}{i}") for key in ("worker", "state", "told")} for i in range(2)
    ]
    environment = {"TMPDIR": str(place)}
    with LocalDeployment(tmp_path / "d", 2, configs, environment=environment) as deployment:
        mark = deployment.mark
        strangers_are_refused(deployment, tmp_path)
        only_this_machine_gets_beyond_the_nodes_interface(deployment)
        assert all(check.ok for check in examine(deployment.folder / "superlink"))
        assert all(check.ok for check in examine_at(deployment, 0))
        assert "/v1/fleet/activate-node" in deployment.logs()
        parts_come_back_as_themselves(deployment)

        # A run goes on all the same, and is that in one process.
        folder = tmp_path / "a run"
        app = parity.app(folder, parity.FEW, "tests.flower.told_client:app")
        elsewhere = tmp_path / "elsewhere and apart"
        lines = list(deployment.run(app, {"folder": str(elsewhere)}))
        assert f"run folder: {elsewhere}" in lines
        expected = parity.here(tmp_path, "vmapped", parity.FEW)
        parity.assert_same(parity.there(elsewhere, parity.FEW), expected, parity.FEW)
        assert find_marked(mark)
        if PROC.is_dir():
            messages_were_answered_by_forks_of_one_process(deployment, place)
            a_node_ends_gracefully_and_leaves_nothing(deployment, place)
    assert find_marked(mark) == []


@pytest.fixture
def place():
    """A folder for temporary files with a path that is short enough for sockets."""
    with TemporaryDirectory(prefix="fsn") as folder:
        yield Path(folder)


def strangers_are_refused(deployment, tmp_path):
    create_deployment(tmp_path / "other", ["127.0.0.1"], 1, port=8000, days=30)
    other, node = tmp_path / "other/nodes/0", deployment.folder / "nodes/0"
    settings = replace(load_node(node), superlink=deployment.address)

    def started(name, **files):
        folder = shutil.copytree(node, tmp_path / f"stranger-{name}")
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_bytes(content)
        program = programs.supernode_program(folder, settings, free_port())
        if not (folder / "node.key").stat().st_size:
            words = list(program.command)
            at = words.index("--auth-supernode-private-key")
            program = replace(program, command=words[:at] + words[at + 2 :])
        log = stack.enter_context((folder / "log").open("wb"))
        running = start(program, new_mark(), log)
        stack.callback(kill, running)
        return running, folder / "log"

    # Side by side, as each imports for seconds.
    with ExitStack() as stack:
        strangers = [
            started("unregistered", node_key=(other / "node.key").read_bytes()),
            started("keyless", node_key=b""),
            started("misled", ca_crt=(other / "ca.crt").read_bytes()),
            # A second node with a key that is in use.
            started("second"),
        ]
        codes = [running.process.wait() for running, _ in strangers]
    assert codes == [1] * 4
    unregistered, keyless, misled, second = outputs = [log.read_text() for _, log in strangers]
    for output in outputs:
        assert "Exit Code: 305" in output
        assert "SuperNode ID" not in output
    assert "[code: 2004] Failed to activate SuperNode." in unregistered
    assert "No SuperNode found with the given public key" in deployment.logs()
    assert "[code: 2001] SuperNode authentication is enabled" in keyless
    assert "SSL/TLS handshake error detected." in misled
    assert "certificate verify failed" in misled
    assert "[code: 2004]" in second
    assert "could not be activated" in deployment.logs()


def only_this_machine_gets_beyond_the_nodes_interface(deployment):
    trusted = ssl.create_default_context(cafile=str(deployment.folder / "nodes/0/ca.crt"))
    port = int(deployment.address.rpartition(":")[2])
    for source, status in (("127.0.0.1", 200), ("127.0.0.2", 403)):
        caller = http.client.HTTPSConnection(
            "127.0.0.1", port, context=trusted, source_address=(source, 0)
        )
        caller.request("GET", "/openapi.json")
        assert caller.getresponse().status == status
        caller.close()


def examine_at(deployment, index):
    node = deployment.folder / f"nodes/{index}"
    file = node / "node.toml"
    superlink = f'superlink = "{deployment.address}"'
    file.write_text(re.sub(r'superlink = ".*"', superlink, file.read_text()))
    return examine(node)


def parts_come_back_as_themselves(deployment):
    """The SuperLink comes back with its state; a node that was killed comes back as itself."""
    deployment.stop_superlink()
    deployment.stop_node(1)
    deployment.start_superlink()
    deployment.expire_node(1)
    deployment.start_node(1)
    first, second = re.findall(r"SuperNode ID: (\d+)", deployment.logs(1))
    assert first == second


def messages_were_answered_by_forks_of_one_process(deployment, place):
    for index in range(2):
        told = [json.loads(line) for line in (place / f"told{index}").read_text().splitlines()]
        pids, parents, nodes, draws = map(set, zip(*told, strict=True))
        # It introduces itself and trains in two rounds.
        assert len(told) == len(pids) == len(draws) == 3
        (parent,), (node,) = parents, nodes
        assert node in with_word("supernode.py") and parent != node
        log = deployment.logs(index)
        assert len(re.findall("Start `flwr-clientapp` process", log)) == len(told)
        assert log.count("Sent successfully") == len(told)
        assert "WARNING : " not in log


def a_node_ends_gracefully_and_leaves_nothing(deployment, place):
    """A node ends gracefully at SIGTERM, like Flower's own, and leaves no process and no file."""
    for index in range(2):
        _, _, node, _ = json.loads((place / f"told{index}").read_text().splitlines()[0])
        os.kill(node, signal.SIGTERM)
        until(partial(gone, node))
        assert "SuperNode terminated gracefully" in deployment.logs(index)
    assert list(place.glob("fedlocal-node-*")) == []


def gone(node):
    return process(node) is None and not with_word(f"fedlocal-node-{node}-")


@pytest.mark.slow  # two deployments more
def test_an_insecure_run_only_if_asked_for_and_a_failure_is_told(tmp_path, app):
    configs = [data(tmp_path / "0.npz", 1.0), data(tmp_path / "1.npz", -1.0)]
    with LocalDeployment(tmp_path / "d", 2, configs, insecure=True) as deployment:
        mark = deployment.mark
        with pytest.raises(RuntimeError, match=r"the run is finished:failed:\n(.*\n)*RuntimeError"):
            list(deployment.run(app))
        assert "negative data" in deployment.logs(1)
        with pytest.raises(RuntimeError, match="exit code 1"):
            list(deployment.run(app, {"no-such-key": 1}))
        # A run that nobody follows any more leaves no process either.
        run = deployment.run(app)
        next(run)
        run.close()
        assert find_marked(mark)
    assert find_marked(mark) == []


def test_the_commands(tmp_path):
    folder, port = tmp_path / "d", free_port()
    create_deployment(folder, ["127.0.0.1"], 1, port=port, days=30)
    command = [sys.executable, "-m", "fedlocal.flower.deploy.command"]

    def run(name, *arguments):
        log = (tmp_path / f"{name}.log").open("wb")
        stack.callback(log.close)
        process = subprocess.Popen([*command, *arguments], stdout=log, stderr=subprocess.STDOUT)
        stack.callback(stop, process)
        return process

    def await_line(name, pattern, process):
        end = time.monotonic() + 150
        while not re.search(pattern, text := (tmp_path / f"{name}.log").read_text()):
            assert process.poll() is None, text
            assert time.monotonic() < end, text
            time.sleep(0.1)

    with ExitStack() as stack:
        listen = ["--listen", "127.0.0.1"]
        superlink = run("superlink", "superlink", str(folder / "superlink"), *listen)
        await_line("superlink", "node 0: registered", superlink)
        node = run("node", "supernode", str(folder / "nodes/0"))
        await_line("node", r"SuperNode ID: \d+", node)
        assert all(check.ok for check in examine(folder / "nodes/0"))
        assert all(check.ok for check in examine(folder / "superlink"))
        # First the node, which says goodbye; else its key is refused for a minute.
        assert [stop(node, signal.SIGINT), stop(superlink)] == [0, 0]
        assert processes_within(folder) == []

        # A new certificate changes nothing for the nodes, which the SuperLink still knows.
        renew(folder, None, 30)
        superlink = run("again", "superlink", str(folder / "superlink"), *listen)
        await_line("again", "node 0: known", superlink)
        node = run("node-again", "supernode", str(folder / "nodes/0"))
        await_line("node-again", r"SuperNode ID: \d+", node)
    assert processes_within(folder) == []


def stop(process, number=signal.SIGTERM):
    """Ask a command to end; return its exit code.

    SIGTERM goes to all that it started too, as a service manager sends it. Else a SuperLink with
    TLS waits half a minute for the connections of its gate and of its SuperExec.
    """
    if process.poll() is None:
        one = psutil.Process(process.pid)
        helpers = one.children(recursive=True) if number == signal.SIGTERM else []
        for each in (one, *helpers):
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
    return process.wait()


def processes_within(folder):
    """Command lines that name the folder; Flower's processes all do, or have it as their home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(entry.name) != os.getpid():
                about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if str(folder).encode() in about:
                    found.append(about)
    return found
