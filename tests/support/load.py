"""Clients that send without a pause until the server is gone."""

import http.client
import json
import os
import random
import signal
import threading
import time
from contextlib import closing

from tests.conftest import Server

ROUNDS = int(os.environ.get("OVX_CRASH_ROUNDS", "3"))
CLIENTS = 8


class Load:
    """Clients that send events; each request has its own paths and Idempotency-Key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.paths_by_key: dict[str, list[str]] = {}  # the paths of a request, by Idempotency-Key
        self.acknowledged: dict[str, str] = {}  # the id of an event, by path
        self.errors: list[str] = []

    def send(self, connection: http.client.HTTPConnection, idempotency_key: str) -> None:
        """Send the request of an Idempotency-Key, again if it was sent before; a key that ends in 3 is a batch."""
        sent_paths = self.paths_by_key.setdefault(
            idempotency_key, [f"/{idempotency_key}/{n}" for n in range(3 if idempotency_key.endswith("3") else 1)]
        )
        body: dict[str, object] = {"site_id": "my-site"}
        client_fields = {"ip_address": f"203.0.113.{len(sent_paths)}", "user_agent": "Mozilla/5.0 Firefox/120.0"}
        views = [{"url": f"https://example.com{path}"} | client_fields for path in sent_paths]
        if len(views) == 1:
            kind, body = "pageview", body | views[0]
        else:
            kind, body = "batch", body | {"events": [{"type": "pageview"} | view for view in views]}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": idempotency_key}
        connection.request("POST", f"/api/v1/events/{kind}", json.dumps(body), headers)
        response = connection.getresponse()
        response_body = json.loads(response.read())
        if response.status != 201:
            self.errors.append(f"{response.status} {response_body}")
            return
        ids = response_body.get("event_ids") or [response_body["event_id"]]
        self.acknowledged.update(zip(sent_paths, ids, strict=True))

    def run(self, port: int, name: str) -> None:
        """Send one request after the other until the server is gone."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for number in range(1_000_000):
                try:
                    self.send(connection, f"{name}-{number}")
                except (OSError, http.client.HTTPException):
                    return

    def run_until_stopped(self, server: Server, name: str, signal_number: int = signal.SIGKILL) -> int:
        """Let all clients send, and stop the server at a random moment. Returns its exit status."""
        threads = [
            threading.Thread(target=self.run, args=(server.port, f"{name}-{client}")) for client in range(CLIENTS)
        ]
        before = len(self.acknowledged)
        for thread in threads:
            thread.start()
        while len(self.acknowledged) == before and not self.errors:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.5))
        status = server.stop(signal_number)
        for thread in threads:
            thread.join(60)
        return status
