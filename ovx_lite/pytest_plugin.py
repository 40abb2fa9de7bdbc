"""A pytest plugin with the fixture `ovx`: an emulator for the tests of programs that use one of the APIs.

It is installed with the package, and does nothing until a test uses the fixture. There is one emulator per process, and
so one per worker of pytest-xdist; it is reset before each test. See docs/testing.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_START_TIMEOUT_S = 20
_REQUEST_TIMEOUT_S = 330  # more than the longest wait of `/_dev/events/wait`


class Clock:
    """The emulator's clock."""

    def __init__(self, ovx: "Ovx") -> None:
        self._ovx = ovx

    def now(self) -> int:
        """Return the Unix time in milliseconds."""
        return int(self._ovx.call("GET", "/_dev/clock")["ms"])

    def advance(self, by: str | float) -> dict[str, Any]:
        """Move the clock forward `by` `"5m"`, `"1h30m"` or seconds. Returns when everything that fell due is done.

        The result has the new time (`now`), the delivery attempts (`tried`), and the jobs that had work (`jobs`).
        """
        return self._ovx.call("POST", "/_dev/clock", {"advance": by})

    def set(self, to: str) -> dict[str, Any]:
        """Move the clock forward to a time such as `2025-03-15T14:00:00Z`. The result is that of `advance`."""
        return self._ovx.call("POST", "/_dev/clock", {"set": to})


class Hook(NamedTuple):
    """A webhook of the site that sends to the emulator's own receiver."""

    ovx: "Ovx"
    name: str
    url: str
    secret: str

    def requests(self) -> list[dict[str, Any]]:
        """Return what was received, the oldest first: `body`, `headers`, `signatures`, and the status `answered`."""
        requests: list[dict[str, Any]] = self.ovx.call("GET", f"/_dev/hook/{self.name}/requests")["requests"]
        return requests


class Ovx:
    """The emulator. Configure your client with its `url`, `key` and `site`."""

    key = "YOUR_API_KEY"
    site = "site_abc123"

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock(self)
        self._hook_count = 0

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call an endpoint of the emulator (`/_dev/…`). Raises AssertionError with the message of an error."""
        import http.client  # not needed by tests that do not use the fixture
        from urllib.parse import urlsplit

        url = urlsplit(self.url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_REQUEST_TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            document: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= 400 and "error" in document:
            raise AssertionError(document["error"]["message"])
        return document

    def events(self, **filters: str) -> list[dict[str, Any]]:
        """Return what arrived, the latest first. Filter with `status`, `api`, `site` and `name`."""
        from urllib.parse import urlencode

        query = urlencode({"limit": 10_000} | filters)
        events: list[dict[str, Any]] = self.call("GET", f"/_dev/events?{query}")["events"]
        return events

    def wait(self, n: int = 1, name: str = "", timeout: float = 10) -> list[dict[str, Any]]:
        """Wait until `n` events were stored, and return them. Raises AssertionError after `timeout` seconds."""
        from urllib.parse import urlencode

        query = urlencode({"count": n, "name": name, "timeout": timeout, "status": "good"})
        events: list[dict[str, Any]] = self.call("GET", f"/_dev/events/wait?{query}")["events"]
        if len(events) < n:
            rejections = [event["error"]["message"] for event in self.events(status="bad")]
            message = f"{len(events)} of {n} events were stored within {timeout:g} s"
            raise AssertionError(f"{message}; rejected requests: {rejections or 'none'}")
        return events

    def fault(self, status: int | None = None, **rule: Any) -> None:
        """Let requests fail: `fault(503, times=2)`, `fault(kind="reset")`, `fault(500, phase="after")`."""
        added = rule if status is None else {"status": status, **rule}
        rules = self.call("GET", "/_dev/faults")["rules"]
        self.call("PUT", "/_dev/faults", [*rules, added])

    def goal(self, name: str, event: str = "", path: str = "") -> None:
        """Add a goal to the site, which is met by an event with a name or by a view of a path."""
        self.call("POST", "/_dev/goals", {"site": self.site, "name": name, "event": event, "path": path})

    def hook(self, reply: Sequence[int] = (200,), events: Sequence[str] = ("goal.completed",)) -> Hook:
        """Add a webhook to the site, with a receiver that answers with these statuses. The last one repeats."""
        self._hook_count += 1
        name = f"hook-{self._hook_count}"
        url = f"{self.url}/_dev/hook/{name}?reply={','.join(map(str, reply))}"
        webhook = self.call("POST", "/_dev/webhooks", {"site": self.site, "url": url, "events": list(events)})
        return Hook(self, name, url, webhook["secret"])

    def trigger(self, event: str, data: dict[str, Any] | None = None) -> None:
        """Send a message to the site's webhooks, although nothing has happened. Without `data`, it is a sample."""
        self.call("POST", "/_dev/trigger", {"site": self.site, "event": event, "data": data})

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the site's delivery log, the latest first."""
        deliveries: list[dict[str, Any]] = self.call("GET", f"/_dev/deliveries?site={self.site}")["deliveries"]
        return deliveries


@pytest.fixture(scope="session")
def ovx_server() -> Iterator[str]:
    """The URL of an emulator that all tests of this process share."""
    with tempfile.TemporaryDirectory(prefix="ovx-lite-pytest-") as folder:
        ready_file, log_file = Path(folder, "ready.json"), Path(folder, "log")
        command = [sys.executable, "-m", "ovx_lite", "dev", "--port", "0", "--ready-file", str(ready_file)]
        with log_file.open("wb") as log:
            process = subprocess.Popen(command, stderr=log, env=os.environ | {"TMPDIR": folder})  # noqa: S603 - our own
        try:
            deadline_s = time.monotonic() + _START_TIMEOUT_S
            while not ready_file.exists():
                if process.poll() is not None or time.monotonic() > deadline_s:
                    pytest.fail(f"ovx-lite dev did not start: {log_file.read_text(errors='replace')}", pytrace=False)
                time.sleep(0.005)
            yield json.loads(ready_file.read_text())["url"]
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def ovx(ovx_server: str) -> Ovx:
    """An emulator of the real APIs in its initial state."""
    emulator = Ovx(ovx_server)
    emulator.call("POST", "/_dev/reset")
    return emulator
