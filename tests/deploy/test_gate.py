"""Who gets through to which of Flower's interfaces."""

import asyncio
import json
import time
from urllib.parse import unquote

import pytest

from fedlocal.flower.deploy.gate import gate, software

HERE = ("127.0.0.1", 5000)


def ask(path, client=HERE, server=("127.0.0.1", 8000), kind="http", is_open=False):
    """What a caller gets: the app's answer "through", or the gate's."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "through"})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": unquote(path), "raw_path": path.encode()}
    scope |= {"client": client, "server": server}
    asyncio.run(gate(app, is_open)(scope, None, send))
    return sent


def passes(*arguments, **named):
    return ask(*arguments, **named)[0]["type"] == "through"


@pytest.mark.parametrize(
    "path", ["/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/"]
)
def test_only_this_machine_gets_further_than_nodes(path):
    assert passes(path)
    assert passes(path, ("::1", 1), ("::1", 8000))
    for client, server in [
        (("10.0.0.2", 1), ("10.0.0.1", 8000)),
        (("127.0.0.2", 1), ("127.0.0.1", 8000)),
        # A port forwarder that shows its callers with the server's own address.
        (("10.0.0.1", 1), ("10.0.0.1", 8000)),
        (None, ("127.0.0.1", 8000)),
        (("127.0.0.1", 1), None),
    ]:
        answer = ask(path, client, server)
        assert answer[0]["status"] == 403
        assert "own machine" in json.loads(answer[1]["body"])["detail"]
        assert passes(path, client, server, is_open=True)


def test_nodes_get_through_from_anywhere():
    far = (("10.0.0.2", 1), ("10.0.0.1", 8000))
    assert passes("/v1/fleet/pull-messages", *far)
    for path in (
        "/v1/fleet",
        "/v1/fleet/",
        "//v1/fleet/pull-messages",
        "/v1/fleetX/pull-messages",
        # What a server behind could read as another interface.
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/..%2fcontrol/start-run",
        "/v1/fleet//control/start-run",
        "/v1/control/%2e%2e/fleet/start-run",
    ):
        assert not passes(path, *far), path
    # Nothing but requests is for nodes.
    answer = ask("/v1/fleet/pull-messages", *far, kind="websocket")
    assert answer == [{"type": "websocket.close", "code": 1008}]


def test_the_server_may_start_and_stop():
    assert passes("", None, None, kind="lifespan")


def test_everybody_may_ask_what_this_is():
    before = time.time()
    start, body = ask("/about", ("10.0.0.2", 1), ("10.0.0.1", 8000))
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    about = json.loads(body["body"])
    assert about["software"] == software()
    assert before <= about["time"] <= time.time()
    assert set(software()) == {"python", "fedlocal", "flwr", "torch"}
