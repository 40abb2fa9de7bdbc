"""Get started: snippets that send a site's first event, and the stream that tells of it."""

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

from tests.browserless import WebClient
from tests.conftest import Response, Start, Store
from tests.pages import AdminSession, open_admin_session, page_secrets, parse_page, split_command
from tests.pages import admin as admin
from tests.receiver import TIMEOUT_S

LOCAL = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}


def snippet(page: Response, label: str) -> str:
    return parse_page(page).find_one("pre", **{"aria-label": label}).raw_text


def test_get_started_shows_the_host_the_site_and_the_key(admin: AdminSession) -> None:
    made = admin.client.post("/new-site", {"id": "snippets", "domain": "shop.example", "timezone": "UTC"})
    page = admin.client.follow(made)
    (key,) = page_secrets(page)
    for label in ("curl", "python", "node", "php"):
        for word in (admin.server.url, "snippets", key, "https://shop.example/"):
            assert word in snippet(page, label), (label, word)
    public = parse_page(admin.client.get("/sites/snippets/settings/keys")).find_one(
        "code", **{"aria-label": "The public key"}
    )
    script = f'<script defer src="{admin.server.url}/js/ovx.js" data-key="{public.text}"></script>'
    assert snippet(page, "The script tag") == script
    later = admin.client.get("/sites/snippets/settings/start")
    assert ("YOUR_API_KEY" in snippet(later, "curl"), key in later.body.decode()) == (True, False)


def command(label: str, text: str) -> list[str]:
    """What runs a snippet."""
    if label == "curl":
        return [*split_command(text), "-sS"]
    return [sys.executable, "-c", text] if label == "python" else ["node", "--input-type=module", "-e", text]


@pytest.mark.parametrize("label", ["curl", "python", "node"])
def test_a_snippet_of_the_page_sends_the_first_event(admin: AdminSession, label: str) -> None:
    if label != "python" and not shutil.which(label):
        pytest.skip(f"there is no {label} here")
    id = f"by-{label}"
    page = admin.client.follow(admin.client.post("/new-site", {"id": id, "domain": "", "timezone": "UTC"}))
    ran = subprocess.run(command(label, snippet(page, label)), capture_output=True, timeout=60, env=LOCAL)
    assert (ran.returncode, ran.stderr) == (0, b"")
    (event,) = admin.store.events(id)
    assert (event["type"], event["path"]) == ("pageview", "/")
    assert "Events are arriving" in parse_page(admin.client.get(f"/sites/{id}/settings/start")).text


@contextmanager
def listening(person: WebClient, settings: str) -> Iterator[http.client.HTTPResponse]:
    """The open stream that tells of the first event."""
    connection = http.client.HTTPConnection("127.0.0.1", person.server.port, timeout=TIMEOUT_S)
    cookies = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    connection.request("GET", f"{settings}/first-event", headers={"Cookie": cookies})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def told(stream: http.client.HTTPResponse) -> Any:
    assert (stream.status, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    (line,) = [line for line in stream.read().splitlines() if line.startswith(b"data: ")]
    return json.loads(line.removeprefix(b"data: "))


def test_the_stream_tells_of_the_first_event(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    with listening(admin.client, settings) as waiting, listening(admin.client, settings) as another:
        admin.pageview(settings, key, "https://example.com/first")
        assert [told(stream)["path"] for stream in (waiting, another)] == ["/first", "/first"]
    with listening(admin.client, settings) as late:
        assert (event := told(late))["host"] == "example.com"
        assert event["name"] == "pageview"


def test_the_stream_is_for_those_who_are_logged_in(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    assert WebClient(admin.server).get(f"{settings}/first-event").status == 303


def test_a_stream_ends_with_its_session(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    person = WebClient(admin.server)
    person.log_in()
    with listening(person, settings) as stream:
        person.post("/logout")
        admin.pageview(settings, key)
        assert b"data:" not in stream.read()


def test_a_server_that_is_told_to_stop_does_not_wait_for_a_stream(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start)
    settings, _ = admin.add_site()
    with listening(admin.client, settings) as stream:
        assert stream.status == 200
        admin.server.process.terminate()
        assert admin.server.process.wait(timeout=TIMEOUT_S) == 0
        assert stream.read() == b"", "nothing has happened"
    assert "Traceback" not in admin.server.log_path.read_text()
