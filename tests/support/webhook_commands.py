"""A receiver of webhooks, and the setting that allows it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ALLOW_ENV = {"OVX_WEBHOOK_ALLOW_NET": "127.0.0.0/8"}


class Receiver(ThreadingHTTPServer):
    """A receiver on a free port; `requests` has the received bytes."""

    def __init__(self) -> None:
        self.response_status, self.requests = 200, list[bytes]()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        self.server.requests.append(f"{self.requestline}\r\n{head}\r\n".encode() + body)
        self.send_response(self.server.response_status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()
