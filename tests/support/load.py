"""Clients that send without pause until the server is gone."""

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
    """Clients that send events, each request with a path and an Idempotency-Key of its own."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.sent: dict[str, list[str]] = {}  # by Idempotency-Key, the paths
        self.acknowledged: dict[str, str] = {}  # by path, the event's id
        self.trouble: list[str] = []

    def send(self, connection: http.client.HTTPConnection, repeat: str) -> None:
        """Send a request, single or a batch, as its Idempotency-Key says; again, if that was sent before."""
        wanted = self.sent.setdefault(repeat, [f"/{repeat}/{n}" for n in range(3 if repeat.endswith("3") else 1)])
        body: dict[str, object] = {"site_id": "my-site"}
        agent = {"ip_address": f"203.0.113.{len(wanted)}", "user_agent": "Mozilla/5.0 Firefox/120.0"}
        views = [{"url": f"https://example.com{path}"} | agent for path in wanted]
        if len(views) == 1:
            kind, body = "pageview", body | views[0]
        else:
            kind, body = "batch", body | {"events": [{"type": "pageview"} | view for view in views]}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": repeat}
        connection.request("POST", f"/api/v1/events/{kind}", json.dumps(body), headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 201:
            self.trouble.append(f"{answer.status} {said}")
            return
        ids = said.get("event_ids") or [said["event_id"]]
        self.acknowledged.update(zip(wanted, ids, strict=True))

    def run(self, port: int, name: str) -> None:
        """Send one request after the other until the server is gone."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for number in range(1_000_000):
                try:
                    self.send(connection, f"{name}-{number}")
                except (OSError, http.client.HTTPException):
                    return

    def until_it_ends(self, server: Server, name: str, how: int = signal.SIGKILL) -> int:
        """Let all clients send, and end the server at any moment after the first answer. Returns its exit status."""
        threads = [
            threading.Thread(target=self.run, args=(server.port, f"{name}-{client}")) for client in range(CLIENTS)
        ]
        before = len(self.acknowledged)
        for thread in threads:
            thread.start()
        while len(self.acknowledged) == before and not self.trouble:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.5))
        status = server.stop(how)
        for thread in threads:
            thread.join(60)
        return status
