"""A receiver of webhooks that outlives servers."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest


class Came(NamedTuple):
    """A request that a webhook's receiver got; `life` counts the servers, of which each but the last is killed."""

    life: int
    id: str
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Answers 200 at once, and keeps what came, by path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: dict[str, list[Came]] = defaultdict(list)
        self.life = 0
        self.lock = threading.Lock()
        self.open = 0

    @property
    def count(self) -> int:
        """How many different deliveries came."""
        with self.lock:
            return len({(path, came.id) for path, all in self.came.items() for came in all})

    def handle_error(self, request: object, client_address: object) -> None:
        """Those who send are killed, and leave connections that broke off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open += 1

    def finish(self) -> None:
        with self.server.lock:
            self.server.open -= 1
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # whoever sent it was killed before its end: nothing came
            return
        with self.server.lock:
            self.server.came[self.path].append(Came(self.server.life, self.headers["webhook-id"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.01,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()
