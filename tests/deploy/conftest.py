"""A deployment's folders, and a server that says what a SuperLink would."""

import json
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fedlocal.flower.deploy.folders import create_deployment
from fedlocal.flower.deploy.gate import software

HOST = "127.0.0.1"


@pytest.fixture
def deployment(tmp_path):
    folder = tmp_path / "deployment"
    create_deployment(folder, [HOST, "link.example.org"], 2, port=8000, days=30)
    return folder


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that does not trust us hangs up; that is no news."""


@contextmanager
def answering(certificate_folder=None, status=200, **said):
    """The port of a server that answers as /about does, but for what is `said`."""
    about = {"software": software(), "time": time.time()} | said

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(about).encode()
            self.send_response(status if self.path == "/about" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with Quiet((HOST, 0), Handler) as server:
        if certificate_folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(
                certificate_folder / "server.crt", certificate_folder / "server.key"
            )
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def superlink_like():
    return answering
