"""Requests and answers pass through unchanged, part by part, and end with their caller."""

import asyncio

import httpx

from fedlocal.flower.deploy.gate_server import forward


def scope(**given):
    return {
        "type": "http",
        "method": "POST",
        "raw_path": b"/v1/fleet/push-object",
        "query_string": b"",
        "headers": [],
        "client": ("10.0.0.2", 5000),
    } | given


class Stream(httpx.AsyncByteStream):
    """An answer's parts; notes that it was closed."""

    def __init__(self, parts, then=None):
        self.parts, self.then, self.closed = parts, then, False

    async def __aiter__(self):
        for part in self.parts:
            yield part
        if self.then is not None:
            await self.then

    async def aclose(self):
        self.closed = True


def through(server, given, received, stays=True):
    """What the caller gets from a server, a function of an httpx request."""
    sent = []

    async def run():
        messages = list(received)

        async def receive():
            if messages:
                return messages.pop(0)
            if stays:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            await asyncio.sleep(0)

        transport = httpx.MockTransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="https://inner:1") as client:
            await asyncio.wait_for(forward(client)(given, receive, send), 10)

    asyncio.run(run())
    return sent


def test_all_of_a_request_and_its_answer_pass():
    seen = []
    parts = [b"one", b"", b"\xff" * 3]

    async def server(request):
        seen.append((request.method, request.url.raw_path, request.headers.raw, request.content))
        headers = [(b"X-Own", b"2"), (b"Connection", b"close"), (b"Content-Encoding", b"gzip")]
        return httpx.Response(418, headers=headers, stream=Stream(parts))

    given = scope(
        query_string=b"a=%2F",
        headers=[
            (b"host", b"link:8000"),
            (b"content-length", b"5"),
            (b"signature", b"x/+="),
            (b"x-forwarded-for", b"127.0.0.1"),
            (b"connection", b"keep-alive"),
        ],
    )
    body = [{"type": "http.request", "body": part, "more_body": part != b"c"} for part in BODY]
    start, *rest = through(server, given, body)
    method, target, headers, content = seen[0]
    assert (method, target, content) == ("POST", b"/v1/fleet/push-object?a=%2F", b"ab--c")
    headers = {name.lower(): value for name, value in headers}
    assert headers[b"signature"] == b"x/+=" and headers[b"host"] == b"link:8000"
    assert headers[b"content-length"] == b"5"
    # The true address, not the claim.
    assert headers[b"x-forwarded-for"] == b"10.0.0.2"
    assert start["status"] == 418
    # As it came, not decoded.
    assert start["headers"] == [(b"X-Own", b"2"), (b"Content-Encoding", b"gzip")]
    assert b"".join(part.get("body", b"") for part in rest) == b"one\xff\xff\xff"
    assert not rest[-1].get("more_body")


BODY = (b"ab", b"--", b"c")


def test_a_server_that_is_gone_is_unavailable():
    def server(request):
        raise httpx.ConnectError("refused")

    assert through(server, scope(), [{"type": "http.request"}])[0]["status"] == 503


def test_an_answer_ends_with_its_caller():
    stream = []

    def server(request):
        stream.append(Stream([b"a line\n"], asyncio.Event().wait()))
        return httpx.Response(200, stream=stream[0])

    sent = through(server, scope(), [{"type": "http.request"}], stays=False)
    assert sent[0]["status"] == 200
    assert stream[0].closed


def test_websockets_are_refused():
    sent = through(None, {"type": "websocket"}, [])
    assert sent == [{"type": "websocket.close", "code": 1008}]
