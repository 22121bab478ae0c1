"""The worker behind the ClientApp process: real processes, no Flower."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from shutil import rmtree
from time import monotonic, sleep

import pytest

from fedlocal.flower.worker import WorkerError, call
from fedlocal.flower.worker_node import PROC, SUPERNODES, Process, alive, process

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="without /proc there are no workers")

ENTRIES = """
import os, signal
from functools import lru_cache

@lru_cache
def loaded():
    return os.urandom(8)

def fail(key):
    return {}[key]

def fail_oddly():
    class Odd(Exception):
        pass
    raise Odd("far from home")

def unpicklable():
    return lambda: None

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def meet(folder, name):
    (folder / name).touch()
    signal.pause()
"""
# A caller's program; the node and the folder are its arguments.
CALLER = """
import signal, sys
from pathlib import Path
from fedlocal.flower.worker import call
from fedlocal.flower.worker_node import process
print(call(Path(sys.argv[1]), "os:getpid", node=process(int(sys.argv[2]))), flush=True)
signal.pause() if sys.argv[3:] else None
"""


@dataclass
class Node:
    """Stands for a SuperNode: any process that lives until it is killed."""

    folder: Path
    handles: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> Process:
        self.handles.append(subprocess.Popen(["sleep", "600"]))
        found = process(self.handles[-1].pid)
        assert found is not None
        return found

    def kill(self) -> None:
        for handle in self.handles:
            handle.kill()

    def end(self) -> None:
        self.kill()
        for handle in self.handles:
            handle.wait()

    def workers(self) -> list[int]:
        """Ids of the processes that have our folder on their command line."""
        return [
            int(place.name)
            for place in Path("/proc").glob("[0-9]*")
            if int(place.name) != os.getpid() and os.fsencode(self.folder) in command_line(place)
        ]


def command_line(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


def until(condition) -> None:
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end, "waited for a minute in vain"
        sleep(0.02)


@pytest.fixture
def node(monkeypatch) -> Iterator[Node]:
    # The folder of pytest can be too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="flw"))
    (folder / "code").mkdir()
    (folder / "code" / "worker_entries.py").write_text(ENTRIES)
    monkeypatch.syspath_prepend(folder / "code")
    one = Node(folder / "w")
    yield one
    one.end()
    for pid in one.workers():
        os.kill(pid, signal.SIGTERM)
    until(lambda: not one.workers())
    rmtree(folder)


@pytest.fixture
def run(node):
    return partial(call, node.folder, node=node.start())


def test_worker_keeps_what_it_has_loaded(run):
    first = run("worker_entries:loaded")
    assert run("worker_entries:loaded") == first
    assert run("os:getpid") == run("os:getpid") != os.getpid()
    assert run("operator:add", [1], [2.5]) == [1, 2.5]


def test_worker_files_are_for_their_user_alone(node, run):
    run("os:getpid")
    modes = {name: (node.folder / name).stat().st_mode & 0o777 for name in ("", "key")}
    assert modes == {"": 0o700, "key": 0o600}


def test_worker_can_be_left_out():
    assert call(None, "os:getpid") == os.getpid()


def callers(node: Node, of: Process, *more: str, count: int = 1) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", CALLER, str(node.folder), str(of.pid), *more],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(count)
    ]


def test_callers_at_the_same_moment_start_one_worker(node):
    answers = {one.communicate()[0] for one in callers(node, node.start(), count=4)}
    assert len(answers) == 1
    assert node.workers() == [int(answers.pop())]


def test_worker_outlives_the_process_group_that_started_it(node):
    of = node.start()
    (first,) = callers(node, of, "stay")
    with first:
        assert first.stdout is not None
        pid = first.stdout.readline()
        os.killpg(first.pid, signal.SIGKILL)
    (second,) = callers(node, of)
    assert second.communicate()[0] == pid


def test_wrong_key_is_refused_and_the_worker_goes_on(node, run):
    pid = run("os:getpid")
    with pytest.raises(AuthenticationError):
        Client(str(node.folder / "socket"), "AF_UNIX", authkey=b"guessed")
    Client(str(node.folder / "socket"), "AF_UNIX").close()
    assert run("os:getpid") == pid


def test_worker_ends_with_its_node(node, run):
    run("os:getpid")
    node.kill()
    # Not waited for, the dead node still has its id: it counts as gone all the same.
    until(lambda: not node.workers())
    assert sorted(path.name for path in node.folder.iterdir()) == ["log"]


def test_worker_ends_with_its_node_in_the_middle_of_a_call(node, run):
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(run, "worker_entries:meet", node.folder, "here")
        until((node.folder / "here").exists)
        node.kill()
        with pytest.raises(WorkerError, match="in the middle of a call"):
            answer.result()
    until(lambda: not node.workers())
    assert not (node.folder / "socket").exists()


def test_killed_worker_is_replaced(node, run):
    pid = run("os:getpid")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not node.workers())
    assert (node.folder / "socket").exists()
    assert run("os:getpid") != pid


def test_worker_killed_in_the_middle_of_a_call(run):
    pid = run("os:getpid")
    with pytest.raises(WorkerError, match="the next call starts a new one"):
        run("worker_entries:die")
    assert run("os:getpid") != pid


def test_terminated_worker_cleans_up(node, run):
    os.kill(run("os:getpid"), signal.SIGTERM)
    until(lambda: not node.workers())
    assert not (node.folder / "socket").exists() and not (node.folder / "key").exists()


def test_idle_worker_ends(node):
    idle = partial(call, node.folder, node=node.start(), idle_seconds=0.0)
    pid = idle("os:getpid")
    until(lambda: not node.workers())
    assert not (node.folder / "socket").exists() and not (node.folder / "key").exists()
    assert idle("os:getpid") != pid


def test_worker_is_not_idle_during_a_call(node):
    idle = partial(call, node.folder, node=node.start(), idle_seconds=0.0)
    assert idle("time:sleep", 1.2) is None


def test_worker_of_another_node_is_replaced(node, run):
    pid = run("os:getpid")
    assert call(node.folder, "os:getpid", node=node.start()) != pid
    until(lambda: pid not in node.workers())
    assert (node.folder / "socket").exists() and (node.folder / "key").exists()


def test_worker_with_other_code_is_replaced(node, run, monkeypatch):
    pid = run("os:getpid")
    monkeypatch.syspath_prepend(node.folder)
    assert run("os:getpid") != pid


def test_exceptions_come_back_with_their_traceback(run):
    pid = run("os:getpid")
    with pytest.raises(KeyError, match="absent") as caught:
        run("worker_entries:fail", "absent")
    assert "worker_entries.py" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="Odd: far from home") as caught:
        run("worker_entries:fail_oddly")
    assert "in fail_oddly" in caught.value.__notes__[0]
    with pytest.raises(AttributeError, match="pickle"):
        run("worker_entries:unpicklable")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        run("nowhere:nothing")
    assert run("os:getpid") == pid


def test_worker_that_cannot_start_says_where_to_look(node, monkeypatch):
    of = node.start()
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerError, match=r"did not start; \S+/log says why"):
        call(node.folder, "os:getpid", node=of)


def test_folders_that_do_not_do(tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="chmod 700"):
        call(tmp_path, "os:getpid")
    with pytest.raises(ValueError, match="96 bytes"):
        call(tmp_path / ("x" * 100), "os:getpid")


def test_caller_imports_the_standard_library_alone():
    script = (
        "import sys; import fedlocal.flower.worker;"
        " print({'torch', 'numpy', 'flwr'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert ran.stdout.strip() == b"set()"


@pytest.mark.parametrize("name", [*SUPERNODES, "flower-superexec"])
def test_node_process_is_found_above_the_caller(tmp_path, name):
    inner = "from fedlocal.flower.worker_node import node_process as n; print(*n())"
    between = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    program = tmp_path / name
    program.write_text(
        f"import os, subprocess, sys; print(os.getpid(), flush=True)\n"
        f"subprocess.run([sys.executable, '-c', {between!r}])\n"
    )
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    expected, found = ran.stdout.splitlines()
    assert found.split()[0] == expected


def test_node_process_of_a_worker_is_its_node(node):
    of = node.start()
    found = call(node.folder, "fedlocal.flower.worker_node:node_process", node=of)
    assert found == of


def test_node_process_is_the_parent_where_there_is_no_flower():
    script = "from fedlocal.flower.worker_node import node_process as n; print(*n())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(ran.stdout.split()[0]) == os.getpid()


def test_process_is_told_from_its_successor():
    own = process(os.getpid())
    assert own is not None and alive(own)
    assert not alive(own._replace(started=own.started - 1))
