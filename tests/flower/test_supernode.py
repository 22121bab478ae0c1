"""The SuperNode without waits: what it does to Flower's programs, and how it does without.

The real programs are in tests/deploy/test_deployment.py.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from types import ModuleType, SimpleNamespace

import pytest

from fedlocal.flower import supernode
from fedlocal.flower.supernode import Clock, shorten_sleep, warm_apps
from fedlocal.flower.worker_node import PROC, process

linux = pytest.mark.skipif(not PROC.is_dir(), reason="without /proc it is the stock program")

# A node: the real module with other programs around it.
NODE = """
import sys, sysconfig
from pathlib import Path
from fedlocal.flower import supernode, worker_node
scripts = sys.argv[1]
sysconfig.get_path = lambda name: scripts
supernode.PROC = Path(sys.argv[2])
sys.argv[1:] = sys.argv[3:]
supernode.main()
"""
# In place of Flower's: say what is found, then start an app for every argument.
SUPERNODE = """
import os, shutil, subprocess, sys
print(sys.argv[0], os.environ["PATH"], shutil.which("flwr-clientapp"), sep="|")
print(os.environ.get("FLWR_SUPEREXEC_TASK_POLL_INTERVAL"), flush=True)
for argument in sys.argv[1:]:
    subprocess.run(["flwr-clientapp", argument])
sys.exit(3)
"""
CLIENTAPP = """
import atexit, json, os, sys
import numpy as np
from threading import Thread
from time import sleep
known = set(sys.modules)
from fedlocal.flower.worker_node import node_process

def say(name, **what):
    with open(name, "a") as file:
        print(json.dumps(what), file=file)

about = dict(
    pid=os.getpid(), parent=os.getppid(), argv=sys.argv, folder=os.getcwd(), path=sys.path,
    environment=dict(os.environ), node=node_process().pid, random=np.random.random(),
    files=[number for number in range(3, 100) if os.path.exists(f"/dev/fd/{number}")],
    module=__name__, flwr="flwr" in known, fedlocal="fedlocal" in known,
)
print("out of", sys.argv[1], flush=True)
print("last of", sys.argv[1])
# The file is there when the process ends, however that goes.
atexit.register(os.rename, sys.argv[1] + ".part", sys.argv[1])
Thread(target=lambda: (sleep(0.1), say(sys.argv[1] + ".part", **about))).start()
sys.exit(0)
"""


@pytest.fixture
def place(monkeypatch) -> Iterator[Path]:
    """A folder with programs, which is the one for temporary files too."""
    # That of pytest can be too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="fsn"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv(supernode.POLL, raising=False)
    bin = folder / "bin"
    bin.mkdir()
    for name, text in (("flower-supernode", SUPERNODE), ("flwr-clientapp", CLIENTAPP)):
        (bin / name).write_text(f"#!{sys.executable}{text}")
        (bin / name).chmod(0o700)
    yield folder
    until(lambda: not with_word(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    rmtree(folder)


def with_word(word: object) -> list[int]:
    """Processes with this in their command line."""
    found = []
    for entry in PROC.glob("[0-9]*"):
        try:
            if os.fsencode(str(word)) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return [pid for pid in found if pid != os.getpid()]


def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for a minute in vain"
        time.sleep(0.02)


def run_node(place: Path, *apps: str, proc: Path = PROC) -> tuple[list[str], list[str]]:
    """Lines that the programs of a node wrote, to its output and its errors."""
    with (place / "out").open("w+") as out:
        print("before", file=out, flush=True)
        ran = subprocess.run(
            [sys.executable, "-c", NODE, str(place / "bin"), str(proc), *apps],
            cwd=place,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ran.returncode == 3, ran.stderr
        until(lambda: all((place / app).exists() for app in apps))
        out.seek(0)
        assert out.readline() == "before\n"
        return out.read().splitlines(), ran.stderr.splitlines()


def left(place: Path) -> list[str]:
    return [path.name for path in place.glob("fedlocal-node-*")]


@linux
def test_programs_find_the_quick_clientapp_and_nothing_is_left(place, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (first, poll), errors = run_node(place)
    program, path, clientapp = first.split("|")
    private, *others = path.split(":")
    assert program == str(place / "bin/flower-supernode")
    assert others == [str(place / "bin"), "/usr/bin", "/bin"]
    assert Path(private).parent == place and clientapp == f"{private}/flwr-clientapp"
    assert poll == "0.2"
    assert errors == []
    assert left(place) == []


@linux
def test_own_interval_wins(place, monkeypatch):
    monkeypatch.setenv(supernode.POLL, "0.7")
    assert run_node(place)[0][1] == "0.7"


def test_without_proc_it_is_the_stock_program(place):
    (first, poll), errors = run_node(place, proc=place / "nowhere")
    assert first.split("|")[2] == str(place / "bin/flwr-clientapp")
    assert (poll, errors) == ("None", [])


@linux
def test_apps_are_forked_from_one_process(place, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    out, errors = run_node(place, "one", "two")
    assert errors == []
    # The streams are the node's own: whoever writes goes on where the last one stopped.
    assert sorted(out[2:]) == ["last of one", "last of two", "out of one", "out of two"]
    one, two = (json.loads((place / name).read_text()) for name in ("one", "two"))
    assert one["pid"] != two["pid"] and one["parent"] == two["parent"]
    assert one["node"] == two["node"] != one["parent"]
    assert one["random"] != two["random"]
    assert one["argv"] == [str(place / "bin/flwr-clientapp"), "one"]
    assert one["module"] == "__main__" and one["folder"] == str(place)
    # Imports and nothing else are the worker's.
    assert one["flwr"] and not one["fedlocal"] and one["files"] == []
    # Flower's programs add to it, and a shell may correct its PWD.
    expected = {"PATH": f"{place}/bin:/usr/bin:/bin", supernode.POLL: "0.2"}
    expected = {**os.environ, **expected, "PWD": one["environment"].get("PWD")}
    assert {name: one["environment"].get(name) for name in expected} == expected
    assert ("PYTHONPATH" in one["environment"]) == ("PYTHONPATH" in os.environ)
    plain = subprocess.run(
        [sys.executable, "-P", "-c", "import json, sys; print(json.dumps(sys.path))"],
        capture_output=True,
        check=True,
    )
    assert one["path"] == json.loads(plain.stdout)


@linux
def test_a_message_is_not_lost_where_there_is_no_worker(place, monkeypatch):
    # Too long for a socket.
    long = place / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    out, errors = run_node(place, "one")
    assert sorted(out[2:]) == ["last of one", "out of one"]
    assert len(errors) == 1 and "flwr-clientapp starts slowly" in errors[0]
    one = json.loads((place / "one").read_text())
    assert one["argv"] == [str(place / "bin/flwr-clientapp"), "one"] and not one["flwr"]
    assert str(long) not in one["environment"]["PATH"]
    assert left(long) == []


@linux
def test_a_message_is_not_lost_where_the_worker_is_refused(place, monkeypatch, capfd):
    # As if others could write there.
    with warm_apps():
        (folder,) = place.glob("fedlocal-node-*")
        (folder / "worker").mkdir(mode=0o755)
        (folder / "worker").chmod(0o755)
        path = f"{folder}:{place / 'bin'}:/usr/bin:/bin"
        env = {**os.environ, "PATH": path}
        subprocess.run(["flwr-clientapp", "one"], cwd=place, env=env, check=True)
    assert (place / "one").exists()
    out, errors = capfd.readouterr()
    assert "last of one" in out and "chmod 700" in errors


@linux
def test_no_clientapp_at_all_is_said(place, monkeypatch):
    with warm_apps():
        (folder,) = place.glob("fedlocal-node-*")
        env = {**os.environ, "PATH": f"{folder}:/nowhere"}
        ran = subprocess.run([folder / "flwr-clientapp"], env=env, capture_output=True, text=True)
    assert ran.returncode == 1 and "no program flwr-clientapp" in ran.stderr


@linux
def test_folders_of_killed_nodes_are_removed(place, monkeypatch):
    own = process(os.getpid())
    assert own is not None
    monkeypatch.setenv("PATH", os.environ["PATH"])
    living = place / f"fedlocal-node-{own.pid}-{own.started}-abc"
    dead = place / f"fedlocal-node-{own.pid}-{own.started - 1}-abc"
    others = place / "fedlocal-node-of-somebody"
    for folder in (living, dead, others):
        folder.mkdir()
        (folder / "file").touch()
    with warm_apps():
        assert living.exists() and others.exists() and not dead.exists()
    assert sorted(left(place)) == sorted([living.name, others.name])


@linux
def test_without_a_temporary_folder_apps_start_as_ever(place, monkeypatch, capsys):
    def refuse(**_):
        raise PermissionError("read-only")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    before = os.environ["PATH"]
    with warm_apps():
        assert os.environ["PATH"] == before
    assert "each will import anew" in capsys.readouterr().err


def test_long_sleeps_are_cut(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    clock = Clock()
    clock.sleep(3)
    clock.sleep(0.1)
    assert slept == [0.2, 0.1]
    assert clock.monotonic is time.monotonic


def test_clock_of_flowers_loop_is_replaced(monkeypatch, capsys):
    loop = importlib.import_module("flwr.supernode.start_client_internal")
    monkeypatch.setattr(loop, "time", time)
    shorten_sleep()
    assert isinstance(loop.time, Clock)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("found", [ModuleType("loop"), SimpleNamespace(time=lambda: 0.0), None])
def test_loop_without_a_clock_is_left_alone(monkeypatch, capsys, found):
    monkeypatch.setitem(sys.modules, "loop_of_another_version", found)
    kept = dict(vars(found)) if found else None
    shorten_sleep("loop_of_another_version")
    assert (dict(vars(found)) if found else None) == kept
    assert "WARNING" in capsys.readouterr().err
