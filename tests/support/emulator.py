"""A stand-in to test: started as its user would, and called over HTTP."""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from tests.conftest import Answer
from tests.support.processes import Process, program


class Stage(NamedTuple):
    """A running stand-in."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request with a JSON body, or with these bytes."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, sent, headers or {})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())
        finally:
            connection.close()

    def send(
        self, path: str, event: object, key: str = "YOUR_API_KEY", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send an event with a key."""
        return self.call("POST", path, event, {"Authorization": f"Bearer {key}"} | (headers or {}))

    def events(self, **asked: str) -> list[dict[str, Any]]:
        """What arrived, the latest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/_dev/events?{urlencode(asked)}").json["events"]
        return found

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()


@contextmanager
def stage(folder: Path, *options: str, wait: bool = True) -> Iterator[Stage]:
    """Run a stand-in with these options."""
    ready = folder / "ready.json"
    command = program("dev", "--port", "0", "--ready-file", str(ready), *options)
    with (folder / "log").open("wb") as log:
        process = Process(command, stdout=log, stderr=log, env=os.environ | {"TMPDIR": str(folder)})
    try:
        while wait and not ready.exists():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        yield Stage(process, json.loads(ready.read_text())["url"] if wait else "", folder)
    finally:
        process.terminate()
        process.wait(20)


def custom(name: str = "signup", **fields: object) -> dict[str, object]:
    return {"site_id": "site_abc123", "url": "https://example.com/pricing", "event_name": name, **fields}
