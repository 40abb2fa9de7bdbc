"""A fixture for the tests of programs that speak to one of the APIs: `ovx`, a stand-in of one's own for each test.

It is installed with the package, and does nothing until a test asks for it. There is one server a process (so one a
worker of pytest-xdist); before each test it is put back to its start.
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

_START_TIMEOUT_S = 20  # seconds until the server has to be there


class Clock:
    """The stand-in's clock."""

    def __init__(self, ovx: "Ovx") -> None:
        self._ovx = ovx

    def now(self) -> int:
        """Unix time in milliseconds."""
        return int(self._ovx.call("GET", "/_dev/clock")["ms"])

    def advance(self, duration: str | float) -> dict[str, Any]:
        """Put it forward by `"5m"`, `"1h30m"` or seconds; returns when all that fell due is done, and what that was."""
        return self._ovx.call("POST", "/_dev/clock", {"advance": duration})

    def set(self, timestamp: str) -> dict[str, Any]:
        """Put it forward to a time, like `2025-03-15T14:00:00Z`."""
        return self._ovx.call("POST", "/_dev/clock", {"set": timestamp})


class Hook(NamedTuple):
    """A webhook of the site whose receiver is in the box: its URL and its secret."""

    ovx: "Ovx"
    name: str
    url: str
    secret: str

    def requests(self) -> list[dict[str, Any]]:
        """What came, the first first, with `body`, `headers`, `signatures`, and what was `answered`."""
        requests: list[dict[str, Any]] = self.ovx.call("GET", f"/_dev/hook/{self.name}/requests")["requests"]
        return requests


class Ovx:
    """The stand-in: `url` takes the place of the real product's, with `key` and `site`."""

    key = "YOUR_API_KEY"
    site = "site_abc123"

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock(self)
        self._hook_count = 0

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call one of the stand-in's own tools (`/_dev/…`). Raises AssertionError with what it says is wrong."""
        import http.client  # not needed by tests that do not ask for this
        from urllib.parse import urlsplit

        parsed_url = urlsplit(self.url)
        connection = http.client.HTTPConnection(parsed_url.hostname or "", parsed_url.port, timeout=330)
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
        """What arrived, the latest first; `status`, `api`, `site` and `name` say which."""
        from urllib.parse import urlencode

        events: list[dict[str, Any]] = self.call("GET", f"/_dev/events?{urlencode({'limit': 10_000} | filters)}")[
            "events"
        ]
        return events

    def wait(self, n: int = 1, name: str = "", timeout: float = 10) -> list[dict[str, Any]]:
        """Wait until so many good events arrived. Raises AssertionError if they do not, with what did."""
        from urllib.parse import urlencode

        params = urlencode({"count": n, "name": name, "timeout": timeout, "status": "good"})
        events: list[dict[str, Any]] = self.call("GET", f"/_dev/events/wait?{params}")["events"]
        if len(events) < n:
            messages = [event["error"]["message"] for event in self.events(status="bad")]
            raise AssertionError(
                f"{len(events)} of {n} events came in {timeout:g} s; refused were: {messages or 'none'}"
            )
        return events

    def fault(self, status: int | None = None, **rule: Any) -> None:
        """Let requests fail from now on: `fault(503, times=2)`, `fault(kind="reset")`, `fault(500, phase="after")`."""
        new_rule = rule if status is None else {"status": status, **rule}
        rules = self.call("GET", "/_dev/faults")["rules"]
        self.call("PUT", "/_dev/faults", [*rules, new_rule])

    def goal(self, name: str, event: str = "", path: str = "") -> None:
        """Add a goal to the site, that an event of a name meets, or a view of a path."""
        self.call("POST", "/_dev/goals", {"site": self.site, "name": name, "event": event, "path": path})

    def hook(self, reply: Sequence[int] = (200,), events: Sequence[str] = ("goal.completed",)) -> Hook:
        """Add a webhook to the site, whose receiver answers so, one after the other; the last goes on."""
        self._hook_count += 1
        name = f"hook-{self._hook_count}"
        url = f"{self.url}/_dev/hook/{name}?reply={','.join(map(str, reply))}"
        document = {"site": self.site, "url": url, "events": list(events)}
        return Hook(self, name, url, self.call("POST", "/_dev/webhooks", document)["secret"])

    def trigger(self, event: str, data: dict[str, Any] | None = None) -> None:
        """Tell the site's webhooks of an event, without anything having happened."""
        self.call("POST", "/_dev/trigger", {"site": self.site, "event": event, "data": data})

    def deliveries(self) -> list[dict[str, Any]]:
        """The site's log of deliveries, the latest first."""
        deliveries: list[dict[str, Any]] = self.call("GET", f"/_dev/deliveries?site={self.site}")["deliveries"]
        return deliveries


@pytest.fixture(scope="session")
def ovx_server() -> Iterator[str]:
    """The URL of a stand-in for all tests of this process."""
    with tempfile.TemporaryDirectory(prefix="ovx-lite-pytest-") as folder:
        ready = Path(folder, "ready.json")
        command = [sys.executable, "-m", "ovx_lite", "dev", "--port", "0", "--ready-file", str(ready)]
        log = Path(folder, "log")
        with log.open("wb") as log_file:
            process = subprocess.Popen(command, stderr=log_file, env=os.environ | {"TMPDIR": folder})  # noqa: S603 - our own
        try:
            deadline_s = time.monotonic() + _START_TIMEOUT_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline_s:
                    pytest.fail(f"ovx-lite dev did not start: {log.read_text(errors='replace')}", pytrace=False)
                time.sleep(0.005)
            yield json.loads(ready.read_text())["url"]
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def ovx(ovx_server: str) -> Ovx:
    """A stand-in for the real API, as it is at its start."""
    emulator = Ovx(ovx_server)
    emulator.call("POST", "/_dev/reset")
    return emulator
