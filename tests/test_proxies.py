"""Behind nginx and Caddy, configured as in the README: proxy and server agree on where a body ends."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Start, Store
from tests.support.raw_http import statuses, write_request

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream ovx {{ server 127.0.0.1:{server}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    large_client_header_buffers 4 32k;
    location ~ /metrics$ {{ return 404; }}
    location /stats/ {{
      proxy_pass http://ovx;
      proxy_http_version 1.1;
      proxy_set_header Connection "{connection}";
      {more}
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      client_max_body_size 6m;
    }}
  }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  redir /stats /stats/
  respond /stats/metrics 404
  reverse_proxy /stats/* 127.0.0.1:{server}
}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def program(name: str) -> str:
    """Return the path of a proxy's program. Without it, the test is skipped; in CI, it fails."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("OVX_PROXY_TESTS") == "required":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def run(port: int, *command: str, folder: Path) -> Iterator[int]:
    """Run a proxy, and wait until it accepts connections."""
    env = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline_s, "the proxy did not get ready"
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(20)


class ServerBehindProxy(NamedTuple):
    """A server on this port, to be served below a path by a proxy."""

    store: Store
    key: str
    port: int


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, start: Start) -> ServerBehindProxy:
    store, port = Store(tmp_path_factory.mktemp("behind") / "data"), free_port()
    store.site()
    start(store, "--port", str(port), "--base-url", "http://127.0.0.1/stats")
    return ServerBehindProxy(store, store.key(), port)


@pytest.fixture(scope="module", params=["nginx", "nginx that forwards Upgrade", "caddy"])
def proxy(
    request: pytest.FixtureRequest, behind: ServerBehindProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Run a proxy in front of `behind`, and return its port."""
    name, _, forwards_upgrade = request.param.partition(" ")
    path, folder, port = program(name), tmp_path_factory.mktemp(name), free_port()
    fields = {"folder": folder, "port": port, "server": behind.port}
    if name == "caddy":
        (folder / "Caddyfile").write_text(CADDY.format(**fields))
        command = [path, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    else:
        more = "proxy_set_header Upgrade $http_upgrade;" if forwards_upgrade else ""
        text = NGINX.format(**fields, connection="upgrade" if forwards_upgrade else "", more=more)
        (folder / "nginx.conf").write_text(text)
        command = [path, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with run(port, *command, folder=folder) as port:
        yield port


def send_raw(port: int, request_bytes: bytes) -> str:
    """Send a request, and read until the proxy is silent for a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request_bytes)
        response_bytes = client.recv(65536)
        client.settimeout(0.05)
        try:
            while chunk := client.recv(65536):
                response_bytes += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return response_bytes.decode()


def event(key: str, name: str, *headers: str) -> bytes:
    return write_request(key, name, *headers).replace(b"POST /api", b"POST /stats/api")


def upgrade_offer(key: str, padding: int, body: bytes, chunked: bool, spelling: str) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = ["POST /stats/api/v1/events/custom HTTP/1.1", "Host: 127.0.0.1", f"A-Pad: {'y' * padding}", framing]
    lines += [f"Authorization: Bearer {key}", f"{spelling}: h2c", f"Connection: {spelling}", "", ""]
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return "\r\n".join(lines).encode() + (chunk if chunked else body)


def test_an_event_passes_through_the_proxy(proxy: int, behind: ServerBehindProxy) -> None:
    assert statuses(send_raw(proxy, event(behind.key, "plain"))) == ["201"]
    upgrading = send_raw(proxy, event(behind.key, "upgrading", "Upgrade: h2c", "Connection: Upgrade"))
    assert statuses(upgrading) == ["201"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_never_read_as_a_request_wherever_the_head_is_split(
    proxy: int, behind: ServerBehindProxy, chunked: bool
) -> None:
    """The padding lets the head end in or near `Upgrade` within the 4,096 bytes that Caddy (Go) sends at a time."""
    body = event(behind.key, "smuggled") + b"GET /stats/metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    requests = [
        upgrade_offer(behind.key, padding, body, chunked, "Upgrade" if padding % 3 else "UPgrade")
        for padding in (0, *range(3880, 3945)) * 4
    ]
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda request_bytes: send_raw(proxy, request_bytes), requests))
    assert {tuple(statuses(response)) for response in responses} <= {("400",)}
    assert not [response for response in responses if "# HELP" in response]
    assert "smuggled" not in {event["name"] for event in behind.store.events()}
    assert statuses(send_raw(proxy, event(behind.key, "after"))) == ["201"]
