"""Get started: snippets that send the first event of a site, and the stream that reports it."""

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import Response, Start, Store
from tests.support.browserless import WebClient
from tests.support.pages import AdminSession, open_admin_session, page_secrets, parse_page, split_command
from tests.support.pages import admin as admin
from tests.support.receiver import TIMEOUT_S

NO_PROXY_ENV = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}


def snippet(page: Response, label: str) -> str:
    return parse_page(page).find_one("pre", **{"aria-label": label}).raw_text


def test_the_snippets_contain_the_host_the_site_and_the_key(admin: AdminSession) -> None:
    response = admin.client.post("/new-site", {"id": "snippets", "domain": "shop.example", "timezone": "UTC"})
    page = admin.client.follow(response)
    (key,) = page_secrets(page)
    for label in ("curl", "python", "node", "php"):
        for text in (admin.server.url, "snippets", key, "https://shop.example/"):
            assert text in snippet(page, label), (label, text)
    public_key = parse_page(admin.client.get("/sites/snippets/settings/keys")).find_one(
        "code", **{"aria-label": "The public key"}
    )
    script = f'<script defer src="{admin.server.url}/js/ovx.js" data-key="{public_key.text}"></script>'
    assert snippet(page, "The script tag") == script
    later = admin.client.get("/sites/snippets/settings/start")
    assert ("YOUR_API_KEY" in snippet(later, "curl"), key in later.body.decode()) == (True, False)


def command(label: str, text: str) -> list[str]:
    """Return the command that runs a snippet."""
    if label == "curl":
        return [*split_command(text), "-sS"]
    return [sys.executable, "-c", text] if label == "python" else ["node", "--input-type=module", "-e", text]


@pytest.mark.parametrize("label", ["curl", "python", "node"])
def test_a_snippet_of_the_page_sends_the_first_event(admin: AdminSession, label: str) -> None:
    if label != "python" and not shutil.which(label):
        pytest.skip(f"{label} is not installed")
    id = f"by-{label}"
    page = admin.client.follow(admin.client.post("/new-site", {"id": id, "domain": "", "timezone": "UTC"}))
    result = subprocess.run(command(label, snippet(page, label)), capture_output=True, timeout=60, env=NO_PROXY_ENV)
    assert (result.returncode, result.stderr) == (0, b"")
    (event,) = admin.store.events(id)
    assert (event["type"], event["path"]) == ("pageview", "/")
    assert "Events are arriving" in parse_page(admin.client.get(f"/sites/{id}/settings/start")).text


@contextmanager
def open_stream(client: WebClient, settings: str) -> Iterator[http.client.HTTPResponse]:
    """Open the stream that reports the first event."""
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=TIMEOUT_S)
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    connection.request("GET", f"{settings}/first-event", headers={"Cookie": cookies})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def read_event(stream: http.client.HTTPResponse) -> Any:
    assert (stream.status, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    (line,) = [line for line in stream.read().splitlines() if line.startswith(b"data: ")]
    return json.loads(line.removeprefix(b"data: "))


def test_the_stream_sends_the_first_event(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    with open_stream(admin.client, settings) as waiting, open_stream(admin.client, settings) as other_stream:
        admin.pageview(settings, key, "https://example.com/first")
        assert [read_event(stream)["path"] for stream in (waiting, other_stream)] == ["/first", "/first"]
    with open_stream(admin.client, settings) as late:
        assert (event := read_event(late))["host"] == "example.com"
        assert event["name"] == "pageview"


def test_the_stream_requires_a_login(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    assert WebClient(admin.server).get(f"{settings}/first-event").status == 303


def test_a_stream_ends_with_its_session(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    client = WebClient(admin.server)
    client.log_in()
    with open_stream(client, settings) as stream:
        client.post("/logout")
        admin.pageview(settings, key)
        assert b"data:" not in stream.read()


def test_a_stopping_server_does_not_wait_for_a_stream(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start)
    settings, _ = admin.add_site()
    with open_stream(admin.client, settings) as stream:
        assert stream.status == 200
        admin.server.process.terminate()
        assert admin.server.process.wait(timeout=TIMEOUT_S) == 0
        assert stream.read() == b"", "the stream ends without an event"
    assert "Traceback" not in admin.server.log_path.read_text()
