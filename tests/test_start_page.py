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

from tests.conftest import Answer, Start, Store
from tests.support.browserless import Person
from tests.support.pages import Office, open_office, read, secrets, words
from tests.support.pages import office as office
from tests.support.receiver import PATIENCE

LOCAL = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}


def snippet(page: Answer, label: str) -> str:
    return read(page).one("pre", **{"aria-label": label}).raw


def test_get_started_shows_the_host_the_site_and_the_key(office: Office) -> None:
    made = office.person.post("/new-site", {"id": "snippets", "domain": "shop.example", "timezone": "UTC"})
    page = office.person.follow(made)
    (key,) = secrets(page)
    for label in ("curl", "python", "node", "php"):
        for word in (office.server.url, "snippets", key, "https://shop.example/"):
            assert word in snippet(page, label), (label, word)
    public = read(office.person.get("/sites/snippets/settings/keys")).one("code", **{"aria-label": "The public key"})
    script = f'<script defer src="{office.server.url}/js/ovx.js" data-key="{public.text}"></script>'
    assert snippet(page, "The script tag") == script
    later = office.person.get("/sites/snippets/settings/start")
    assert ("YOUR_API_KEY" in snippet(later, "curl"), key in later.body.decode()) == (True, False)


def command(label: str, text: str) -> list[str]:
    """What runs a snippet."""
    if label == "curl":
        return [*words(text), "-sS"]
    return [sys.executable, "-c", text] if label == "python" else ["node", "--input-type=module", "-e", text]


@pytest.mark.parametrize("label", ["curl", "python", "node"])
def test_a_snippet_of_the_page_sends_the_first_event(office: Office, label: str) -> None:
    if label != "python" and not shutil.which(label):
        pytest.skip(f"there is no {label} here")
    id = f"by-{label}"
    page = office.person.follow(office.person.post("/new-site", {"id": id, "domain": "", "timezone": "UTC"}))
    ran = subprocess.run(command(label, snippet(page, label)), capture_output=True, timeout=60, env=LOCAL)
    assert (ran.returncode, ran.stderr) == (0, b"")
    (event,) = office.store.events(id)
    assert (event["type"], event["path"]) == ("pageview", "/")
    assert "Events arrive" in read(office.person.get(f"/sites/{id}/settings/start")).text


@contextmanager
def listening(person: Person, settings: str) -> Iterator[http.client.HTTPResponse]:
    """The open stream that tells of the first event."""
    connection = http.client.HTTPConnection("127.0.0.1", person.server.port, timeout=PATIENCE)
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


def test_the_stream_tells_of_the_first_event(office: Office) -> None:
    settings, key = office.site()
    with listening(office.person, settings) as waiting, listening(office.person, settings) as another:
        office.pageview(settings, key, "https://example.com/first")
        assert [told(stream)["path"] for stream in (waiting, another)] == ["/first", "/first"]
    with listening(office.person, settings) as late:
        assert (event := told(late))["host"] == "example.com"
        assert event["name"] == "pageview"


def test_the_stream_is_for_those_who_are_logged_in(office: Office) -> None:
    settings, _ = office.site()
    assert Person(office.server).get(f"{settings}/first-event").status == 303


def test_a_stream_ends_with_its_session(office: Office) -> None:
    settings, key = office.site()
    person = Person(office.server)
    person.log_in()
    with listening(person, settings) as stream:
        person.post("/logout")
        office.pageview(settings, key)
        assert b"data:" not in stream.read()


def test_a_server_that_is_told_to_stop_does_not_wait_for_a_stream(store: Store, start: Start) -> None:
    office = open_office(store, start)
    settings, _ = office.site()
    with listening(office.person, settings) as stream:
        assert stream.status == 200
        office.server.process.terminate()
        assert office.server.process.wait(timeout=PATIENCE) == 0
        assert stream.read() == b"", "nothing has happened"
    assert "Traceback" not in office.server.log.read_text()
