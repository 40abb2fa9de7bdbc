"""A receiver of webhooks that outlives the servers that are killed."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest


class ReceivedDelivery(NamedTuple):
    """A request that the receiver got; `server_number` counts the servers, each but the last of which is killed."""

    server_number: int
    delivery_id: str
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Answers 200 at once, and stores the deliveries by path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.deliveries_by_path: dict[str, list[ReceivedDelivery]] = defaultdict(list)
        self.server_number = 0
        self.lock = threading.Lock()
        self.open_connections = 0

    @property
    def delivery_count(self) -> int:
        """The number of distinct deliveries that arrived."""
        with self.lock:
            return len(
                {
                    (path, delivery.delivery_id)
                    for path, deliveries in self.deliveries_by_path.items()
                    for delivery in deliveries
                }
            )

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that broke off because a server was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open_connections += 1

    def finish(self) -> None:
        with self.server.lock:
            self.server.open_connections -= 1
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the sender was killed before the end of the body
            return
        with self.server.lock:
            self.server.deliveries_by_path[self.path].append(
                ReceivedDelivery(self.server.server_number, self.headers["webhook-id"], body)
            )
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started_receiver:
        thread = threading.Thread(target=started_receiver.serve_forever, args=(0.01,))
        thread.start()
        yield started_receiver
        started_receiver.shutdown()
        thread.join()
