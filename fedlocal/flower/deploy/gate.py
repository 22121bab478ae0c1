"""A gate in front of flower-superlink: other machines reach what SuperNodes need, nothing else.

Flower serves three interfaces on one port, and only that of the SuperNodes authenticates its
callers. Whoever reaches the other two may add nodes and start runs, and so run code on every
machine. So Flower listens on loopback only, and the gate, a server of its own, forwards to it what
may pass. Without the gate no other machine reaches anything. It also answers at /about which
software runs here and what time it is, which the doctor compares.

Run by path, since the package would bring torch into the server.
"""

import json
import platform
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# As it was sent: no %, no dot and no second slash, which a server behind might read otherwise.
FOR_NODES = re.compile(rb"/v1/fleet/[a-z-]+")
ABOUT = "/about"
_COMPARED = ("fedlocal", "flwr", "torch")
# Flower's command shows it.
_REFUSAL = {
    "detail": "Only the SuperLink's own machine may do this. Run it there, or come in through"
    " ssh -L (docs/deployment.md)."
}


def software() -> dict[str, str]:
    """Versions that should be equal on all machines."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _COMPARED}


def gate(app: App, is_open: bool) -> App:
    """Wrap the app; unless it is open, other machines reach `FOR_NODES` only."""

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == ABOUT:
            about = {"software": software(), "time": time.time()}
            await _answer(send, 200, about)
        elif scope["type"] == "lifespan" or is_open or _is_from_here(scope):
            await app(scope, receive, send)
        elif scope["type"] == "http" and FOR_NODES.fullmatch(scope["raw_path"]):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _answer(send, 403, _REFUSAL)
        else:
            await send({"type": "websocket.close", "code": 1008})

    return gated


def _is_from_here(scope: Scope) -> bool:
    """Whether the connection never left the machine."""
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or client[0] != server[0]:
        return False
    # A port forwarder may give its callers the server's own address, but not loopback's.
    return ip_address(client[0]).is_loopback


async def _answer(send: Send, status: int, content: Mapping[str, object]) -> None:
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
