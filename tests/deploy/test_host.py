"""A server ends when it has ceased to work, and its gate is in place."""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedlocal.flower.deploy import watchdog
from fedlocal.flower.deploy.programs import free_port

# Says what reached it: the path, who asked, the body.
SERVER = """
import sys
import uvicorn

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))

async def app(scope, receive, send):
    who = scope["client"][0]
    body = (await receive())["body"].decode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    text = f"{scope['path']} by {who}: {body}"
    await send({"type": "http.response.body", "body": text.encode()})

uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(flags["--port"]),
    ssl_certfile=flags.get("--ssl-certfile"),
    ssl_keyfile=flags.get("--ssl-keyfile"),
    lifespan="off",
    log_level="error",
)
"""
TLS = ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile")


def hosted(tmp_path, text, *arguments, gate=(), grace=0.0):
    """A server's program, run by watchdog.py as in life but for the seconds of grace."""
    program = tmp_path / "server"
    program.write_text(text)
    code = f"import watchdog; watchdog._GRACE_SECONDS = {grace}; watchdog.main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *gate, str(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(watchdog.__file__).parent)},
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
@pytest.mark.parametrize("encrypted", [False, True])
def test_the_gate_is_in_front(tmp_path, deployment, gate, far, encrypted):
    port, own = free_port(), free_port()
    flags = ["--port", str(own), "--database", "none"]
    files = [deployment / "superlink" / name for name in ("server.crt", "server.key", "ca.crt")]
    for flag, file in zip(TLS, files, strict=True):
        flags += [flag, str(file)] if encrypted else []
    ca = files[-1] if encrypted else None
    with hosted(tmp_path, SERVER, *flags, gate=[gate, f"0.0.0.0:{port}"]) as process:
        try:
            while not listens(port):
                assert process.poll() is None
                time.sleep(0.02)
            claim = {"X-Forwarded-For": "127.0.0.1"}
            near, away = "127.0.0.1", "127.0.0.2"
            assert ask(port, "/v1/control/x", near, ca) == (200, f"/v1/control/x by {near}: hello")
            assert ask(port, "/v1/control/x", away, ca, claim)[0] == far
            said = (200, f"/v1/fleet/pull-messages by {away}: hello")
            assert ask(port, "/v1/fleet/pull-messages", away, ca, claim) == said
            assert ask(port, "/about", away, ca)[0] == 200
            # The server itself is on loopback only.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((away, own))
        finally:
            process.kill()


def test_a_server_without_its_gate_ends(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with hosted(tmp_path, SERVER, "--port", str(free_port()), gate=["--gate", address]) as one:
            assert one.wait() == 1
            assert "the gate has ended" in one.stderr.read()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def ask(port, path, source, ca, headers=None):
    """Status and text of the answer to a request from an address."""
    options = {"source_address": (source, 0), "timeout": 20}
    if ca is None:
        caller = http.client.HTTPConnection("127.0.0.1", port, **options)
    else:
        context = ssl.create_default_context(cafile=str(ca))
        caller = http.client.HTTPSConnection("127.0.0.1", port, context=context, **options)
    try:
        caller.request("POST", path, body=b"hello", headers=headers or {})
        answer = caller.getresponse()
        return answer.status, answer.read().decode()
    finally:
        caller.close()
