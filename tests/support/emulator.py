"""The emulator as a process, started as a user would start it and called over HTTP."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.conftest import Response, send_request
from tests.support.processes import Process, program


class EmulatorProcess(NamedTuple):
    """A running emulator."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Response:
        """Send a request with a JSON body, or with these bytes."""
        body_bytes = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return send_request(method, self.url, path, body_bytes, headers or {})

    def send(
        self, path: str, event: object, key: str = "YOUR_API_KEY", headers: dict[str, str] | None = None
    ) -> Response:
        """Send an event with a key; `""` is for none."""
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        return self.call("POST", path, event, authorization | (headers or {}))

    def events(self, **params: str) -> list[dict[str, Any]]:
        """Return the received events, latest first."""
        events: list[dict[str, Any]] = self.call("GET", f"/_dev/events?{urlencode(params)}").json["events"]
        return events

    def read_log(self) -> str:
        """Return the output so far."""
        return (self.folder / "log").read_text()


@contextmanager
def run_emulator(folder: Path, *options: str, wait: bool = True) -> Iterator[EmulatorProcess]:
    """Run an emulator with these options."""
    ready_path = folder / "ready.json"
    command = program("dev", "--port", "0", "--ready-file", str(ready_path), *options)
    with (folder / "log").open("wb") as log_file:
        process = Process(command, stdout=log_file, stderr=log_file, env=os.environ | {"TMPDIR": str(folder)})
    try:
        while wait and not ready_path.exists():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        yield EmulatorProcess(process, json.loads(ready_path.read_text())["url"] if wait else "", folder)
    finally:
        process.terminate()
        process.wait(20)


def custom(name: str = "signup", **fields: object) -> dict[str, object]:
    return {"site_id": "site_abc123", "url": "https://example.com/pricing", "event_name": name, **fields}
