"""Programs and whatever they start are ended, in every case."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedlocal.flower.deploy import processes
from fedlocal.flower.deploy.processes import (
    Program,
    find_marked,
    kill,
    kill_marked,
    new_mark,
    start,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

# One in the background, one detached from the session, one in front.
FAMILY = "sleep 600 & setsid sleep 600 & sleep 600"


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def supervising(mark, command, beside=None):
    """A process of its own that supervises a shell command; its marks lie within `mark`."""
    program = "Program(['sh', '-c', {!r}], {{}})"
    code = (
        "import processes, sys\nfrom processes import Program\n"
        f"processes.new_mark = lambda within='', new=processes.new_mark: new(within or {mark!r})\n"
        f"sys.exit(processes.supervise({program.format(command)},"
        f" {program.format(beside) if beside else None}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parent)}
    supervisor = subprocess.Popen([sys.executable, "-P", "-c", code], env=environment)
    try:
        yield supervisor
    finally:
        supervisor.kill()
        supervisor.wait()
        leftover = find_marked(mark)
        kill_marked(mark)
    assert leftover == []


def test_kill_reaches_the_whole_family():
    mark = new_mark()
    running = start(Program(["sh", "-c", FAMILY], {}), new_mark(mark))
    other = start(Program(["sleep", "600"], {}), new_mark())
    until(lambda: len(find_marked(mark)) == 4)
    kill(running)
    assert find_marked(mark) == []
    assert other.process.poll() is None
    kill(other)
    kill(other)


def test_the_environment_is_set():
    running = start(Program(["sh", "-c", 'test "$A" = b'], {"A": "b"}), new_mark())
    assert running.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(tmp_path, number):
    mark, file = new_mark(), tmp_path / "told"
    trap = f"trap 'echo {number.name} > {file}; exit 7' {number.name[3:]}; {FAMILY} & wait"
    with supervising(mark, trap) as supervisor:
        until(lambda: len(find_marked(mark)) >= 4)
        supervisor.send_signal(number)
        # It ended because it was told to.
        assert supervisor.wait() == 0
    assert file.read_text().strip() == number.name


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("exit 0", 1)])
def test_exit_codes_are_passed_on(command, code):
    # A server that ends by itself has failed, also where it does not say so.
    mark = new_mark()
    with supervising(mark, f"sleep 600 & {command}") as supervisor:
        assert supervisor.wait() == code


def test_a_helper_that_fails_ends_the_program():
    mark = new_mark()
    with supervising(mark, FAMILY, beside="sleep 600 & exit 2") as supervisor:
        assert supervisor.wait() == 1


def test_a_helper_may_end_well_and_does_not_outlive_the_program(tmp_path):
    mark, file = new_mark(), tmp_path / "helped"
    wait = f"while ! test -e {file}; do sleep 0.01; done; exit 5"
    with supervising(mark, wait, beside=f"touch {file}") as supervisor:
        assert supervisor.wait() == 5
    with supervising(mark, "exit 6", beside=FAMILY) as supervisor:
        assert supervisor.wait() == 6


def test_the_watchdog_cleans_up_when_its_parent_dies():
    mark = new_mark()
    started = [start(Program(["sh", "-c", FAMILY], {}), new_mark(mark)) for _ in range(2)]
    command = [sys.executable, "-P", processes.__file__, mark]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watchdog:
        until(lambda: len(find_marked(mark)) == 8)
        watchdog.stdin.close()
        assert watchdog.wait() == 0
    assert find_marked(mark) == []
    assert [one.process.wait() for one in started] == [-9, -9]
