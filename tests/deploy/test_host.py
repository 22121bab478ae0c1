"""A server ends when it has ceased to work, and its gate is in place."""

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedlocal.flower.deploy import host

SERVER = """
import asyncio, sys
import uvicorn

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"behind the gate"})

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_level="error")
"""


def hosted(tmp_path, text, *arguments, gate=(), grace=0.0):
    """A server's program, run by host.py as in life but for the seconds of grace."""
    program = tmp_path / "server"
    program.write_text(text)
    code = f"import host; host._GRACE_SECONDS = {grace}; host.main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *gate, str(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(host.__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import sys; sys.exit(0)", 0),
        ("import sys; sys.exit(3)", 3),
        # A server never returns by itself.
        ("", 1),
        ("import sys; sys.exit()", 1),
        ("import sys; assert sys.argv[1:] == ['-a', 'b']; sys.exit(4)", 4),
        # What Flower's SuperNode leaves behind when its connection breaks.
        ("import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()", 1),
    ],
)
def test_it_ends_with_its_program(tmp_path, text, code):
    with hosted(tmp_path, text, "-a", "b") as process:
        assert process.wait() == code


def test_it_ends_with_its_superexec(tmp_path):
    superexec = tmp_path / "flower-superexec"
    superexec.write_text("#!/bin/sh\n")
    superexec.chmod(0o755)
    text = f"import subprocess, time; p = subprocess.Popen([{str(superexec)!r}]); time.sleep(600)"
    with hosted(tmp_path, text) as process:
        assert process.wait() == 1
        assert "the SuperExec has ended" in process.stderr.read()


def test_other_children_may_end(tmp_path):
    text = (
        "import subprocess, sys, time\n"
        "subprocess.run(['true']); subprocess.run('true', shell=True)\n"
        "time.sleep(1.5)\n"
        "sys.exit(5)"
    )
    with hosted(tmp_path, text) as process:
        assert process.wait() == 5


def test_a_server_that_is_told_to_stop_may_finish(tmp_path):
    superexec = tmp_path / "flower-superexec"
    superexec.write_text("#!/bin/sh\n")
    superexec.chmod(0o755)
    text = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([{str(superexec)!r}])\n"
        "time.sleep(2)\n"
        "sys.exit(5)"
    )
    with hosted(tmp_path, text, grace=600.0) as process:
        assert process.wait() == 5


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback address")
@pytest.mark.parametrize(("gate", "far"), [("--gate", 403), ("--open-gate", 200)])
def test_the_gate_is_in_front(tmp_path, gate, far):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with hosted(tmp_path, SERVER, str(port), gate=[gate]) as process:
        try:
            while not listens(port):
                assert process.poll() is None
                time.sleep(0.02)
            claim = {"X-Forwarded-For": "127.0.0.1"}
            assert status(port, "/v1/control/x", "127.0.0.1") == 200
            assert status(port, "/v1/control/x", "127.0.0.2", claim) == far
            assert status(port, "/v1/fleet/x", "127.0.0.2") == 200
            assert status(port, "/about", "127.0.0.2") == 200
        finally:
            process.kill()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def status(port, path, source, headers=None):
    caller = http.client.HTTPConnection("127.0.0.1", port, source_address=(source, 0))
    try:
        caller.request("GET", path, headers=headers or {})
        return caller.getresponse().status
    finally:
        caller.close()
