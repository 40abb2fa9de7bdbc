"""Logging in and out: who gets in, for how long, and who does not, however often they try."""

import http.client
import json
import re
import sqlite3
import time
from base64 import b64decode, b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from unittest import mock

import pytest
from itsdangerous import TimestampSigner

from ovx_lite.app import _SIGNED_IN
from tests.browserless import PASSWORD, Person, path_of, set_password, tags
from tests.conftest import Answer, Running, Server, Start, Store

OTHER = "something else altogether"
DAY = 24 * 60 * 60
MANY = 10_000
THREADS = 4


@pytest.fixture(scope="module", autouse=True)
def with_password(running: Running) -> None:
    set_password(running.store)


@pytest.fixture
def server(running: Running) -> Server:
    return running.server


@pytest.fixture
def person(server: Server) -> Person:
    """Somebody who has logged in."""
    made = Person(server)
    made.log_in()
    return made


def is_in(person: Person) -> bool:
    answer = person.get("/account")
    assert answer.status in (200, 303)
    return answer.status == 200


def cookie_key(store: Store) -> bytes:
    with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn:
        return bytes(conn.execute("SELECT cookie_key FROM admin").fetchone()[0])


def wrong_fields(answer: Answer) -> list[str]:
    """The fields that have a message beside them, and say so."""
    shown = {at["id"]: at for _, at in tags(answer) if "id" in at}
    wrong = [id for id, at in shown.items() if at.get("aria-invalid") == "true"]
    assert all(f"{id}-wrong" in shown and f"{id}-wrong" in shown[id]["aria-describedby"].split() for id in wrong)
    return wrong


def test_the_password_opens_the_pages(server: Server) -> None:
    person = Person(server)
    assert not is_in(person)
    assert person.follow(person.log_in()).status == 200
    assert is_in(person)
    assert path_of(person.get("/login")) == "/"  # no need to, again


@pytest.mark.parametrize("password", ["", "wrong, and long enough", PASSWORD[:-1], PASSWORD.upper(), "x" * 50_000])
def test_no_other_password_does(server: Server, password: str) -> None:
    person = Person(server)
    answer = person.post("/login", {"password": password})
    assert (answer.status, wrong_fields(answer), person.cookies) == (401, ["password"], {})
    assert "value" not in dict(tags(answer, "input"))
    Person(server).log_in()  # so that the wrong ones of these tests do not add up


def test_a_password_may_be_typed_in_any_form_of_unicode(store: Store, start: Start) -> None:
    set_password(store, "caf\u00e9 au lait")
    Person(start(store)).log_in("cafe\u0301 au lait")


@pytest.mark.parametrize("path", ["/account", "/sites/my-site/settings/people?q=a+b%26c", "/new-site"])
def test_the_log_in_leads_to_where_one_was_going(server: Server, path: str) -> None:
    person = Person(server)
    form = person.follow(person.get(path))
    asked = next(at["value"] for _, at in tags(form, "input") if at.get("name") == "next")
    wrong = person.post("/login", {"password": "wrong, this once", "next": asked})
    assert asked in [at.get("value") for _, at in tags(wrong, "input")]
    answer = person.post("/login", {"password": PASSWORD, "next": asked})
    assert (answer.status, answer.headers["location"]) == (303, path)
    assert person.get(f"/login?next={asked}").headers["location"].startswith(path.partition("?")[0])


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "evil.example"]
    + ["\t//evil.example", "/\r\n/evil.example", " //evil.example", "javascript:alert(1)", "/\r\nX: y", "///evil.example"],
)
def test_the_log_in_never_leads_to_another_host(server: Server, to: str) -> None:
    person = Person(server)
    answer = person.post("/login", {"password": PASSWORD, "next": to})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    again = person.get("/login?next=" + "".join(f"%{byte:02x}" for byte in to.encode()))
    assert (again.status, again.headers["location"]) == (303, "/")


def test_to_log_out_ends_the_session_for_copies_of_the_cookie_too(server: Server, person: Person) -> None:
    thief, other = Person(server), Person(server)
    thief.cookies = dict(person.cookies)
    other.log_in()
    assert is_in(thief)
    assert path_of(person.post("/logout")) == "/login"
    assert person.cookies == {}
    assert not is_in(thief)
    assert is_in(other)


def test_a_new_password_ends_all_other_sessions(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store)
    person, other = Person(server), Person(server)
    person.log_in()
    other.log_in()
    before = dict(person.cookies)
    for form, field in (
        ({"current": "not this one", "password": OTHER}, "current"),
        ({"current": PASSWORD, "password": "too short"}, "password"),
        ({"current": PASSWORD, "password": ""}, "password"),
    ):
        answer = person.post("/account", form)
        assert (answer.status, wrong_fields(answer)) == (400, [field])
        assert OTHER not in answer.body.decode()
    assert is_in(other)
    done = person.post("/account", {"current": PASSWORD, "password": OTHER})
    assert path_of(done) == "/account"
    assert b'role="status"' in person.follow(done).body
    assert is_in(person)
    assert not is_in(other)
    other.cookies = before
    assert not is_in(other)
    assert other.post("/login", {"password": PASSWORD}).status == 401
    other.log_in(OTHER)


def test_guesses_of_the_current_password_are_slowed_down(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start(store))
    person.log_in()
    answers = [person.post("/account", {"current": f"guess {n}", "password": OTHER}) for n in range(20)]
    assert Counter(answer.status for answer in answers) == {400: 10, 429: 10}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert person.post("/account", {"current": PASSWORD, "password": OTHER}).status == 429
    assert is_in(person)


@pytest.mark.parametrize(
    ("base_url", "path", "secure"),
    [
        ("", "/", False),
        ("http://example.com", "/", False),
        ("https://example.com", "/", True),
        ("HTTPS://example.com/", "/", True),
        ("https://example.com/stats", "/stats", True),
        ("https://example.com/stats/", "/stats", True),
    ],
)
def test_the_cookie_is_kept_from_scripts_and_other_sites(
    store: Store, start: Start, base_url: str, path: str, secure: bool
) -> None:
    set_password(store)
    server = start(store, *(["--base-url", base_url] if base_url else []))
    port = re.search(rb"", b"") and _port(server)
    local = Server(server.process, f"http://127.0.0.1:{port}", server.log)
    answer = Person(local, path.rstrip("/")).log_in()
    flags = [flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]]
    assert {"httponly", "samesite=lax", f"path={path}"} <= set(flags)
    assert ("secure" in flags) == secure
    assert not any(flag.startswith("domain") for flag in flags)
