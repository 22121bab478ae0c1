"""Real SuperLinks and SuperNodes on loopback: a run, its refusals, its commands."""

import http.client
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
from pathlib import Path

import numpy as np
import pytest

from fedlocal.flower.deploy import programs
from fedlocal.flower.deploy.doctor import examine
from fedlocal.flower.deploy.folders import create_deployment, renew
from fedlocal.flower.deploy.local import LocalDeployment
from fedlocal.flower.deploy.processes import find_marked, kill, new_mark, start
from fedlocal.flower.deploy.settings import load_node
from fedlocal.flower.home import free_port

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


def ended(program, log):
    """Exit code and output of a program that should end by itself."""
    with log.open("wb") as output:
        running = start(program, new_mark(), output)
    try:
        return running.process.wait(), log.read_text()
    finally:
        kill(running)


def test_a_run_with_tls_and_authentication(tmp_path, app):
    configs = [data(tmp_path / "0.npz", 1.0), data(tmp_path / "1.npz", 2.5)]
    with LocalDeployment(tmp_path / "d", 2, configs) as deployment:
        mark = deployment.mark
        lines = list(deployment.run(app, {"start": 0.5, "note": "two words"}))
        assert answers(lines) == ["answer [0.5, 4.5, 1.5]", "answer [1.5, 10.5, 1.5]"]
        assert "note two words" in lines
        assert all(check.ok for check in examine(deployment.folder / "superlink"))
        assert "/v1/fleet/activate-node" in deployment.logs()
        assert deployment.logs(1).count("Sent successfully") == 1

        # The SuperLink comes back with its state; a node that was killed comes back as itself.
        deployment.stop_superlink()
        deployment.stop_node(1)
        deployment.start_superlink()
        deployment.expire_node(1)
        deployment.start_node(1)
        ids = re.findall(r"SuperNode ID: (\d+)", deployment.logs(1))
        assert len(ids) == 2
        assert ids[0] == ids[1]
        assert answers(deployment.run(app)) == ["answer [0.0, 4.0, 1.0]", "answer [1.0, 10.0, 1.0]"]
        assert find_marked(mark)
    assert find_marked(mark) == []


def test_strangers_are_refused_and_runs_go_on(tmp_path, app):
    create_deployment(tmp_path / "other", ["127.0.0.1"], 1, port=8000, days=30)
    with LocalDeployment(tmp_path / "d", 1, [data(tmp_path / "0.npz", 1.0)]) as deployment:
        node = deployment.folder / "nodes/0"
        settings = replace(load_node(node), superlink=deployment.address)

        def refused(**files):
            folder = shutil.copytree(node, tmp_path / f"stranger-{len(list(tmp_path.iterdir()))}")
            for name, content in files.items():
                (folder / name.replace("_", ".")).write_bytes(content)
            program = programs.supernode_program(folder, settings, free_port())
            if not (folder / "node.key").stat().st_size:
                words = list(program.command)
                at = words.index("--auth-supernode-private-key")
                program = replace(program, command=words[:at] + words[at + 2 :])
            code, output = ended(program, folder / "log")
            assert code == 1
            assert "Exit Code: 305" in output
            assert "SuperNode ID" not in output
            return output

        other = tmp_path / "other/nodes/0"
        unregistered = refused(node_key=(other / "node.key").read_bytes())
        assert "[code: 2004] Failed to activate SuperNode." in unregistered
        assert "No SuperNode found with the given public key" in deployment.logs()
        assert "[code: 2001] SuperNode authentication is enabled" in refused(node_key=b"")
        wrong = refused(ca_crt=(other / "ca.crt").read_bytes())
        assert "SSL/TLS handshake error detected." in wrong
        assert "certificate verify failed" in wrong
        # A second node with a key that is in use is refused too.
        assert "[code: 2004]" in refused()
        assert "could not be activated" in deployment.logs()

        # Who is not on this machine gets no further than the nodes' interface.
        trusted = ssl.create_default_context(cafile=str(node / "ca.crt"))
        port = int(deployment.address.rpartition(":")[2])
        for source, status in (("127.0.0.1", 200), ("127.0.0.2", 403)):
            caller = http.client.HTTPSConnection(
                "127.0.0.1", port, context=trusted, source_address=(source, 0)
            )
            caller.request("GET", "/openapi.json")
            assert caller.getresponse().status == status
            caller.close()
        assert all(check.ok for check in examine_at(node, deployment.address))
        assert len(answers(deployment.run(app, {"nodes": 1}))) == 1
        mark = deployment.mark
    assert find_marked(mark) == []


def examine_at(node, superlink):
    file = node / "node.toml"
    file.write_text(re.sub(r'superlink = ".*"', f'superlink = "{superlink}"', file.read_text()))
    return examine(node)


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
        for process, number in ((node, signal.SIGINT), (superlink, signal.SIGTERM)):
            process.send_signal(number)
            assert process.wait() == 0
        assert processes_within(folder) == []

        # A new certificate changes nothing for the nodes, which the SuperLink still knows.
        renew(folder, None, 30)
        superlink = run("again", "superlink", str(folder / "superlink"), *listen)
        await_line("again", "node 0: known", superlink)
        node = run("node-again", "supernode", str(folder / "nodes/0"))
        await_line("node-again", r"SuperNode ID: \d+", node)
    assert processes_within(folder) == []


def stop(process):
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait()


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
