"""DNS rebinding: the host names that pages and the emulator accept; events are accepted for any host."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovx_lite.domain import config
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import serve_hosts
from ovx_lite.emulator.host_check import emulator_hosts
from tests.conftest import Server, Start, Store
from tests.support.browserless import WebClient, set_password, start_behind
from tests.support.emulator import EmulatorProcess, run_emulator

LOOPBACK = [
    "127.0.0.1:80",
    "127.9.8.7",
    "[::1]:8321",
    "[::1]",
    "localhost",
    "LOCALHOST:1",
    "localhost.",
    "a.localhost:9",
]
ADDRESSES = ["192.168.1.5:8321", "[2001:db8::1]:80", "203.0.113.9", "0.0.0.0:8321"]
FOREIGN = [
    *("evil.example", "evil.example:8321", "EVIL.example.", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("evil-localhost.example", "127.0.0.1:80.evil.example", "[::1].evil.example", "user@127.0.0.1", "a b"),
    *("0x7f000001.evil.example", "localhost:80:evil.example", "evil.example,localhost", "\xff.example", "[::1"),
]
DOTLESS = ["evil", "ovx", "nas:8321", "evil-localhost", "notlocalhost."]


def check_hosts(hosts: list[str], command: str, **values: str) -> set[bool]:
    allowed_hosts = (serve_hosts if command == "serve" else emulator_hosts)(config.read(Path("/nowhere"), values, {}))
    return {allowed_hosts.allows(host) for host in hosts}


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_loopback_is_allowed_and_foreign_names_are_not(command: str) -> None:
    assert check_hosts(LOOPBACK, command) == {True}
    assert check_hosts(FOREIGN, command) == check_hosts(DOTLESS, command) == {False}
    assert check_hosts(FOREIGN, command, base_url="https://stats.example.com") == {False}
    assert check_hosts(FOREIGN, command, host="0.0.0.0", allow_host="example") == {False}
    assert check_hosts([""], command) == {True}


def test_ip_addresses_are_allowed_because_they_cannot_be_rebound() -> None:
    assert (
        check_hosts(ADDRESSES, "serve")
        == check_hosts(ADDRESSES, "dev", host="0.0.0.0")
        == check_hosts(ADDRESSES, "dev", host="::")
        == {True}
    )
    assert check_hosts(ADDRESSES, "dev") == check_hosts(ADDRESSES, "dev", host="localhost") == {False}
    assert check_hosts(["10.1.2.3:80"], "dev", host="10.1.2.3") == {True}


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_configured_names_are_allowed(command: str) -> None:
    assert check_hosts(["NAS.local:80", "ovx", "nas.local."], command, allow_host="nas.local., ovx") == {True}
    assert check_hosts(["stats.example.com"], command, base_url="https://Stats.example.com:8443/stats") == {True}
    assert check_hosts(["myhost.example:8321"], command, host="myhost.example") == {True}
    assert check_hosts(["x.nas.local", "local"], command, allow_host="nas.local") == {False}


def test_a_proxys_single_label_name_is_allowed() -> None:
    """nginx sends the name of its upstream; a name without a dot cannot be registered."""
    assert check_hosts(DOTLESS, "serve", base_url="https://stats.example.com") == {True}
    assert check_hosts(DOTLESS, "dev", base_url="https://stats.example.com") == {False}


@pytest.mark.parametrize("value", ["https://nas.local", "nas.local:8321", "*", "a b", "-.-..", "nas.local;ovx", "/"])
def test_an_invalid_host_name_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ApiError, match="allow_host"):
        config.read(Path("/nowhere"), {"allow_host": value}, {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Server, str]:
    store = Store(tmp_path_factory.mktemp("hosts") / "data")
    set_password(store)
    store.site("my-site", "--domain", "example.com")
    return start(store, "--allow-host", "nas.local"), store.key()


@pytest.mark.parametrize("path", ["/", "/login", "/setup", "/account", "/sites/my-site", "/share/x"])
def test_pages_are_refused_for_other_hosts(server: tuple[Server, str], path: str) -> None:
    client = WebClient(server[0])
    for host in ("evil.example", f"evil.example:{server[0].port}", "ovx"):
        response = client.get(path, host=host)
        assert (response.status, "set-cookie" in response.headers) == (403, False)
        name = host.partition(":")[0]
        for remedy in (f"--allow-host {name}", "--base-url", "proxy_set_header Host $host"):
            assert remedy in response.body.decode()
        api_response = client.get(path, host=host, accept="*/*")
        assert api_response.error == (403, "forbidden", None)
    for host in (f"localhost:{server[0].port}", "nas.local", "192.168.1.5:8321", "[::1]:1"):
        assert client.get(path, host=host).status != 403 or path == "/setup"


def test_forms_are_refused_for_other_hosts(server: tuple[Server, str]) -> None:
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    assert WebClient(server[0]).post("/login", {"password": "correct horse battery"}, **evil).status == 403


def test_events_and_api_requests_are_accepted_for_any_host(server: tuple[Server, str]) -> None:
    """They need a key, which browsers do not send by themselves."""
    any_name = {"Host": "stats.example"}
    event = {"site_id": "my-site", "url": "https://example.com/"}
    key = server[1]
    assert server[0].send("/api/v1/events/pageview", event, key, any_name).status == 201
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day"}
    assert server[0].send("/api/v1/stats/query", query, key, any_name).status == 200
    for path in ("/healthz", "/metrics", "/js/ovx.js", "/openapi.json", "/static/ui.css"):
        assert server[0].send(path, None, None, any_name, "GET").status == 200, path


def test_a_proxy_that_sends_its_own_host_name_is_not_locked_out(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start_behind(start, store, "https://stats.example.com/stats"))
    for host, status in ("ovx", 200), ("stats.example.com", 200), ("127.0.0.1", 200), ("evil.example", 403):
        assert client.get("/login", host=host, x_forwarded_host="stats.example.com").status == status


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("dev"), "--allow-host", "ovx") as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", path)
            for path in ("/", "/live", "/_dev/summary", "/_dev/events", "/healthz", "/metrics", "/nothing")
        ),
        *(("GET", path) for path in ("/js/ovx.js", "/static/ui.css", "/openapi.json", "/login")),
        *(
            ("POST", path)
            for path in ("/_dev/reset", "/_dev/clock", "/api/v1/events/pageview", "/api/events", "/_dev/hook/x")
        ),
        *(("OPTIONS", "/api/events"), ("PUT", "/_dev/faults"), ("POST", "/api/v1/stats/query")),
    ],
)
def test_the_emulator_refuses_requests_for_other_hosts(dev: EmulatorProcess, method: str, path: str) -> None:
    for host in ("evil.example", "evil.example:8321", "192.168.1.5"):
        response = dev.call(method, path, b"{}" if method == "POST" else None, {"Host": host})
        assert response.error == (403, "forbidden", None), host
        assert f"--allow-host {host.partition(':')[0]}" in response.json["error"]["message"]
        assert "access-control-allow-origin" not in response.headers
    for host in ("ovx:8321", "app.localhost", "localhost"):
        assert dev.call(method, path, b"{}" if method == "POST" else None, {"Host": host}).status != 403


def test_a_request_without_a_host_is_allowed(dev: EmulatorProcess) -> None:
    port = int(dev.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /_dev/summary HTTP/1.0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /_dev/summary HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert client.recv(1000).startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
