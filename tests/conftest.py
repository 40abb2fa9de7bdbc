"""Fixtures with real parts: the server as its own process, the command line, and a plain HTTP client."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import httpx2
import pytest
from click.testing import CliRunner

from ovx_lite.auth import passwords
from ovx_lite.cli import main
from ovx_lite.storage.sqlite import STORE_FILE
from tests.support.processes import WEAK_SCRYPT, Process, program

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
)


if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Tests start many servers: they share the bytecode that the first one compiles.
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")

passwords._N, passwords._P = WEAK_SCRYPT


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for `-n auto`: one more than cores, because they often wait for a server."""
    return (os.cpu_count() or 1) + 1


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""Names of Chromium's executable; the first one needs half as much CPU as the others."""
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


@dataclass(frozen=True)
class Response:
    """An HTTP response: status, headers (of any case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Return status, code and field of an error."""
        return self.status, self.json["error"]["code"], self.json["error"].get("field")


REQUEST_TIMEOUT_S = 60

_transport = httpx2.HTTPTransport(
    # No test calls over TLS: the system's certificates, which are slow to load, are not needed.
    verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    trust_env=False,
    limits=httpx2.Limits(max_keepalive_connections=0),
)
"""Sends all requests, each over its own connection. A transport adds no headers, follows no redirect, keeps no cookies
and decodes no body, as `httpx2.Client` would."""


def send_request(
    method: str,
    url: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    cookies: httpx2.Cookies | None = None,
) -> Response:
    """Send one request. `url` is the server's, and `path` goes out as it stands. `cookies` are sent and updated."""
    request = httpx2.Request(
        method,
        url + path,
        headers=httpx2.Headers(headers, encoding="latin-1"),
        content=body,
        extensions={
            "target": path.encode("ascii"),
            "timeout": dict.fromkeys(("connect", "read", "write", "pool"), REQUEST_TIMEOUT_S),
        },
    )
    if cookies is not None:
        request.headers.encoding = "latin-1"
        cookies.set_cookie_header(request)
    try:
        with closing(_transport.handle_request(request)) as response:
            body_bytes = b"".join(response.iter_raw())
    except (
        httpx2.LocalProtocolError,
        h11.LocalProtocolError,
    ):  # HTTP forbids this request
        return _send_unchecked(request, path)
    if cookies is not None:
        response.request = request
        cookies.extract_cookies(response)
    return Response(response.status_code, response.headers, body_bytes)


def _send_unchecked(request: httpx2.Request, path: str) -> Response:
    """Send a request with whatever headers it has, of which httpx2 refuses some."""
    with closing(http.client.HTTPConnection("127.0.0.1", request.url.port, timeout=REQUEST_TIMEOUT_S)) as connection:
        connection.request(request.method, path, request.content, dict(request.headers.multi_items()))
        response = connection.getresponse()
        return Response(response.status, httpx2.Headers(response.getheaders()), response.read())


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    exit_status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Store:
    """A data dir, and methods to run commands on it."""

    path: Path

    def run(self, *args: str, stdin: bytes = b"") -> CommandResult:
        """Run `ovx-lite ARGS…`, in this process if that makes no difference (it is faster)."""
        needs_process = args[:1] == ("serve",) or threading.current_thread() is not threading.main_thread()
        if needs_process or not all(arg.isprintable() for arg in args):
            return self.spawn(*args, stdin=stdin)
        with suppress(RuntimeError):  # no event loop is running
            asyncio.get_running_loop()
            return self.spawn(*args, stdin=stdin)  # some commands start an event loop of their own
        result = CliRunner().invoke(main, args, stdin, env={"OVX_DATA_DIR": str(self.path)}, catch_exceptions=False)
        return CommandResult(result.exit_code, result.stdout_bytes.decode(), result.stderr_bytes.decode())

    def spawn(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> CommandResult:
        """Run `ovx-lite ARGS…` in a process of its own, as a user would."""
        pipe, environment = subprocess.PIPE, {**os.environ, "OVX_DATA_DIR": str(self.path), **(env or {})}
        with Process(program(*args), stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
            try:
                out, err = process.communicate(stdin, timeout=120)
            except BaseException:
                process.kill()
                raise
        return CommandResult(process.returncode, out.decode(), err.decode())

    def call(self, *args: str, stdin: str = "") -> Any:
        """Run a command with `--json` in this process (it is faster) and return the parsed output."""
        env = {"OVX_DATA_DIR": str(self.path)}
        result = CliRunner().invoke(main, [*args, "--json"], stdin, env=env, catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Open the store's database file."""
        with closing(sqlite3.connect(self.path / STORE_FILE)) as conn:
            yield conn

    def site(self, slug: str = "my-site", *options: str) -> dict[str, Any]:
        """Add a site and return the command's JSON output."""
        added_site: dict[str, Any] = self.call("site", "add", slug, *options)
        return added_site

    def key(self, site_slug: str = "my-site", *options: str) -> str:
        """Add a key to a site and return it."""
        return str(self.call("key", "add", site_slug, *options)["key"])

    def events(self, site_slug: str = "my-site", *options: str) -> list[dict[str, Any]]:
        """Export all events of a site, including excluded ones."""
        exported_events: list[dict[str, Any]] = self.call("export", site_slug, "--include-excluded", *options)
        return exported_events


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    log_path: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def send(
        self,
        path: str,
        body: object = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        cookies: httpx2.Cookies | None = None,
    ) -> Response:
        """Send one request. Bytes are sent unchanged, None sends no body, anything else is sent as JSON."""
        body_bytes = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        return send_request(
            method, f"http://127.0.0.1:{self.port}", path, body_bytes, {**authorization, **(headers or {})}, cookies
        )

    @property
    def cpu_time_s(self) -> float:
        """The processor time that it has used, also of its threads; 0 where there is no /proc."""
        stat_path = Path(f"/proc/{self.process.pid}/stat")
        if not stat_path.exists():
            return 0
        user_ticks, system_ticks = stat_path.read_text().rpartition(")")[2].split()[11:13]
        return (int(user_ticks) + int(system_ticks)) / os.sysconf("SC_CLK_TCK")

    def pageview(self, key: str, **fields: object) -> Response:
        """Send a pageview to my-site."""
        return self.send("/api/v1/events/pageview", {"site_id": "my-site", "url": "https://example.com/"} | fields, key)

    def custom(self, key: str, **fields: object) -> Response:
        """Send a custom event to my-site."""
        body = {"site_id": "my-site", "event_name": "signup", "url": "https://example.com/"} | fields
        return self.send("/api/v1/events/custom", body, key)

    def batch(self, key: str, *events: Mapping[str, object]) -> Response:
        """Send a batch to my-site."""
        return self.send("/api/v1/events/batch", {"site_id": "my-site", "events": events}, key)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop the server and return its exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(timeout=30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty data dir."""
    return Store(tmp_path / "data")


Start = Callable[..., Server]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts servers; they are stopped at the end of the test file."""
    with ExitStack() as stack:

        def start(store: Store, *options: str, constants: Mapping[str, object] | None = None) -> Server:
            directory = tmp_path_factory.mktemp("server")
            ready_path, log_path = directory / "ready.json", directory / "log"
            with log_path.open("wb") as log_file:
                process = Process(
                    program("serve", "--port", "0", "--ready-file", str(ready_path), *options),
                    constants,
                    stderr=log_file,
                    env={**os.environ, "OVX_DATA_DIR": str(store.path)},
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            deadline_s = time.monotonic() + 20
            while not ready_path.exists():
                assert process.poll() is None, log_path.read_text()
                assert time.monotonic() < deadline_s, "the server did not get ready"
                time.sleep(0.01)
            return Server(process, json.loads(ready_path.read_text())["url"], log_path)

        yield start


@dataclass
class RunningSite:
    """A server with one site, `my-site`, and an API key without a rate limit."""

    store: Store
    server: Server
    key: str
    jwt_secret: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, start: Start) -> RunningSite:
    """A server shared by the tests of a file."""
    store = Store(tmp_path_factory.mktemp("shared") / "data")
    site = store.site("my-site", "--domain", "example.com")
    key = store.key()
    store.site("other-site")
    return RunningSite(store, start(store), key, site["jwt_secret"])


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Return the launch arguments of Chromium. Without Chromium, browser tests are skipped (in CI, they fail)."""
    if CHROMIUM is None:
        if os.environ.get("OVX_BROWSER_TESTS") == "required":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    return {"executable_path": CHROMIUM, "args": arguments}


SLOW_BROWSER_FILES = ("test_walk.py", "test_dashboard_browser.py", "test_pages.py")
"""These browser tests run before the others, so that all workers finish at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Playwright keeps an event loop running until the end, so tests that start their own loop must run before it.
    browser_paths = {item.path for item in items if {"page", "browser"} & set(getattr(item, "fixturenames", ()))}
    items.sort(
        key=lambda item: (
            item.path in browser_paths,
            item.path in browser_paths and item.path.name not in SLOW_BROWSER_FILES,
        )
    )
