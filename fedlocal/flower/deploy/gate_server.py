"""The gate's server: `python -P gate_server.py HOST:PORT open|closed FLAGS...`.

Listens at HOST:PORT, and forwards what `gate.py` lets through to the flower-superlink that was
started with FLAGS on loopback. Ends when its input is closed, which happens however its parent
ends.

Run by path, since the package would bring torch into the process.
"""

import argparse
import asyncio
import os
import runpy
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOOPBACK = "127.0.0.1"

# Headers of one connection, and claims about the caller, which Flower's server believes when they
# come from loopback.
_DROPPED = (
    b"connection",
    b"expect",
    b"forwarded",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"x-forwarded-proto",
)


def main() -> None:
    """Serve the gate once the SuperLink listens."""
    address, state, *flags = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = _flags(flags)
    url = f"http{'s' if server.ssl_certfile else ''}://{_LOOPBACK}:{server.port}"
    gate = runpy.run_path(str(Path(__file__).with_name("gate.py")))["gate"]
    host, _, port = address.rpartition(":")
    while not _listens(server.port):
        time.sleep(0.05)
    uvicorn.run(
        gate(forward(client(url, server.ssl_ca_certfile)), is_open=state == "open"),
        host=host.strip("[]"),
        port=int(port),
        ssl_certfile=server.ssl_certfile,
        ssl_keyfile=server.ssl_keyfile,
        # The gate sees addresses as the socket has them, not as headers claim.
        proxy_headers=False,
        lifespan="off",
        # The SuperLink logs every request.
        log_level="warning",
    )


def _flags(given: list[str]) -> argparse.Namespace:
    """Parse the port and the certificate among the flags of flower-superlink."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    for name in ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile"):
        parser.add_argument(name)
    return parser.parse_known_args(given)[0]


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def client(server: str, ca: str | None) -> httpx.AsyncClient:
    """Return a client of `server`, a URL; its certificate must be signed by the authority `ca`."""
    return httpx.AsyncClient(
        base_url=server,
        verify=ssl.create_default_context(cafile=ca) if ca else True,
        # An answer may take as long as a run.
        timeout=httpx.Timeout(None, connect=10.0),
        # Less than the 5 s after which uvicorn closes an idle connection.
        limits=httpx.Limits(keepalive_expiry=2.0),
        trust_env=False,
    )


def forward(server: httpx.AsyncClient) -> App:
    """Return an app that answers HTTP requests as the server does, and refuses anything else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            response = await server.send(_request(server, scope, receive), stream=True)
        except httpx.TransportError:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body"})
            return
        try:
            answering = asyncio.create_task(_answer(response, send))
            gone = asyncio.create_task(_disconnected(receive))
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if answering.done():
                answering.result()
            answering.cancel()
        finally:
            await response.aclose()

    return app


def _request(server: httpx.AsyncClient, scope: Scope, receive: Receive) -> httpx.Request:
    headers = _kept(scope["headers"])
    if scope["client"]:
        # For the SuperLink's log.
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    named = dict(scope["headers"])
    has_body = b"transfer-encoding" in named or named.get(b"content-length", b"0") != b"0"
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    url = server.base_url.copy_with(raw_path=target)
    return server.build_request(
        scope["method"], url, headers=headers, content=_body(receive) if has_body else None
    )


def _kept(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _DROPPED]


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _answer(response: httpx.Response, send: Send) -> None:
    headers = _kept(response.headers.raw)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for part in response.aiter_raw():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def _disconnected(receive: Receive) -> None:
    """Return when the caller is gone: a log that nobody reads would be sent for ever."""
    while (await receive())["type"] != "http.disconnect":
        pass


if __name__ == "__main__":
    main()
