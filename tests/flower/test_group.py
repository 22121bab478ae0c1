import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedlocal.flower import processes
from fedlocal.flower.processes import process_group

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

# A program that has one of its own and would go on for minutes.
SLEEPERS = ["sh", "-c", "sleep 600 & echo $!; sleep 600"]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start_sleepers(start) -> set[int]:
    program = start(SLEEPERS, stdout=subprocess.PIPE)
    return {program.pid, int(program.stdout.readline())}


def test_nothing_outlives_the_block(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    with process_group(folder) as start:
        pids = start_sleepers(start) | start_sleepers(start)
        assert len(pids) == 4 and all(map(running, pids))
        assert {os.getpgid(pid) for pid in pids}.isdisjoint({os.getpgrp()})
    assert not any(map(running, pids))
    assert not folder.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_outlives_an_exception(tmp_path, error):
    with pytest.raises(error), process_group(tmp_path) as start:
        pids = start_sleepers(start)
        raise error
    assert not any(map(running, pids))


def test_a_program_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-program"), process_group(tmp_path) as go:
        pids = start_sleepers(go)
        go(["no-such-program"])
    assert not any(map(running, pids))


def test_nothing_outlives_the_block_when_the_guard_was_killed(tmp_path):
    with process_group(tmp_path) as start:
        pids = start_sleepers(start)
        os.kill(os.getpgid(min(pids)), signal.SIGKILL)
    # Killed now, and gone a moment later: nobody is left to wait for the moment.
    while any(map(running, pids)):
        time.sleep(0.01)


KILLED = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from processes import process_group
with process_group(Path({home!r})) as start:
    program = start({sleepers}, stdout=subprocess.PIPE)
    print(program.pid, program.stdout.readline().strip(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_starting_process(tmp_path, sign):
    home = tmp_path / "home"
    home.mkdir()
    folder = str(Path(processes.__file__).parent)
    code = KILLED.format(folder=folder, home=str(home), sleepers=SLEEPERS)
    command = [sys.executable, "-c", code]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as starter:
        pids = [int(word) for word in starter.stdout.readline().split()]
        guard = os.getpgid(pids[0])
        assert all(map(running, [guard, *pids]))
        starter.send_signal(sign)
        # The guard has inherited the other end, and holds it until everything is done.
        starter.stderr.read()
    assert not any(map(running, [guard, *pids]))
    assert not home.exists()
