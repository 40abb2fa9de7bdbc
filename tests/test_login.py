"""Logging in and out: who gets in, for how long, and who does not."""

import json
import sqlite3
import time
from base64 import b64decode, b64encode
from contextlib import closing

import pytest
from itsdangerous import TimestampSigner

from ovx_lite.app import _SIGNED_IN_PAGES
from tests.conftest import Answer, Running, Server, Start, Store
from tests.support.browserless import PASSWORD, Person, path_of, set_password, start_at, tags

OTHER = "something else altogether"
DAY = 24 * 60 * 60


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
    [
        *("//evil.example", "///evil.example", "https://evil.example", "evil.example", "javascript:alert(1)"),
        *("/\\evil.example", "\\\\evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example"),
        *("/\r\n/evil.example", "/\r\nX: y", "/\u2028/evil.example"),
    ],
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
    assert not is_in(person)
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


@pytest.mark.parametrize("base_url", ["", "HTTPS://example.com/", "https://example.com/stats/"])
def test_the_cookie_is_kept_from_scripts_and_other_sites(store: Store, start: Start, base_url: str) -> None:
    path, secure = "/stats" if "stats" in base_url else "/", base_url.lower().startswith("https:")
    set_password(store)
    server = start_at(start, store, base_url) if base_url else start(store)
    answer = Person(server, path.rstrip("/")).log_in()
    flags = [flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]]
    assert {"httponly", "samesite=lax", f"path={path}"} <= set(flags)
    assert ("secure" in flags) == secure
    assert not any(flag.startswith("domain") for flag in flags)


class Earlier(TimestampSigner):
    """Signs as it would have been done some seconds ago."""

    def __init__(self, store: Store, seconds: int) -> None:
        super().__init__(cookie_key(store).hex())
        self._at = int(time.time()) - seconds

    def get_timestamp(self) -> int:
        return self._at


def test_a_cookie_that_was_forged_opens_nothing(server: Server, person: Person) -> None:
    ((name, good),) = person.cookies.items()
    payload, stamp, signature = good.split(".")
    guessed = b64encode(json.dumps({"id": "guess"}).encode()).decode()
    forged = [
        *(f"X{payload[1:]}.{stamp}.{signature}", f"{payload}.X{stamp[1:]}.{signature}", f"{payload}.{stamp}.!"),
        *(f"{payload}.{stamp}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}", good[:-2], f"{good}.{signature}"),
        *(f"{guessed}.{stamp}.{signature}", guessed, payload, f"{payload}.{stamp}", f"{payload}..{signature}"),
        *("", ".", "..", "...", "null", "true", "%00", "\xff\xfe", '"', "=;=", "a" * 30_000, f"{payload}." * 100),
    ]
    stranger = Person(server)
    for value in forged:
        stranger.cookies = {name: value}
        assert not is_in(stranger), value
        assert stranger.post("/account", {"current": PASSWORD, "password": OTHER}).status == 401
        assert stranger.get("/login").status == 200
    assert is_in(person)


def test_a_cookie_that_is_old_opens_nothing(running: Running, person: Person) -> None:
    ((name, good),) = person.cookies.items()
    payload = good.partition(".")[0]
    for days, opens in (0, True), (29, True), (31, False), (365, False), (-1, False):
        person.cookies = {name: Earlier(running.store, days * DAY).sign(payload).decode()}
        assert is_in(person) == opens, days


def test_a_session_ends_by_itself_though_its_cookie_is_new(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start(store))
    person.log_in()
    for days, opens in (29, True), (2, False):
        with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn, conn:
            conn.execute("UPDATE login_sessions SET started_at = started_at - ?", (days * DAY * 1000,))
        assert is_in(person) == opens, days


def test_what_is_signed_but_no_session_opens_nothing(running: Running, person: Person) -> None:
    ((name, _),) = person.cookies.items()
    for session in ({"id": "unknown"}, {"id": 1}, {"id": None}, {"id": ["x"]}, {}, {"id": ""}, {"setup": "x"}):
        payload = b64encode(json.dumps(session).encode())
        person.cookies = {name: Earlier(running.store, 0).sign(payload).decode()}
        assert not is_in(person), session


def test_a_cookie_of_another_server_opens_nothing(server: Server, person: Person, store: Store, start: Start) -> None:
    set_password(store)
    other = Person(start(store))
    other.log_in()
    ((name, value),) = person.cookies.items()
    ((others_name, others_value),) = other.cookies.items()
    assert name != others_name  # so that both can be used on one host
    for cookies in ({name: others_value}, {others_name: others_value}, {others_name: value}):
        stranger = Person(server)
        stranger.cookies = cookies
        assert not is_in(stranger)
    person.cookies |= other.cookies
    assert is_in(person)


def test_a_store_keeps_no_cookie_that_could_be_used(running: Running, person: Person) -> None:
    ((_, value),) = person.cookies.items()
    token = json.loads(b64decode(value.partition(".")[0]))["id"].encode()
    assert all(token not in path.read_bytes() for path in running.store.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in _SIGNED_IN_PAGES])
def test_a_page_is_for_those_who_are_logged_in(server: Server, method: str, path: str) -> None:
    path = path.replace("{site}", "my-site").replace("{", "x-").replace("}", "")
    person = Person(server)
    if method == "GET":
        answer = person.get(path + "?page=1")
        assert (answer.status, answer.headers["location"]) == (303, f"/login?next={path}%3Fpage%3D1")
        assert person.get(path.replace("my-site", "no-site")).status == 303
    else:
        shown, told = person.post(path), person.post(path, accept="*/*")
        assert (shown.status, len(tags(shown, "h1"))) == (401, 1)
        assert shown.headers["content-type"].startswith("text/html")
        assert told.error == (401, "unauthorized", None)
        assert person.post(path.replace("my-site", "no-site")).status == 401
