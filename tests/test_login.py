"""Logging in and out: passwords, redirects, cookies and sessions."""

import json
import sqlite3
import time
from base64 import b64decode, b64encode
from contextlib import closing

import pytest
from itsdangerous import TimestampSigner

from ovx_lite.app import _SIGNED_IN_PAGES
from tests.conftest import Response, RunningSite, Server, Start, Store
from tests.support.browserless import PASSWORD, WebClient, find_tags, redirect_path, set_password, start_behind

OTHER_PASSWORD = "something else altogether"
DAY_S = 24 * 60 * 60


@pytest.fixture(scope="module", autouse=True)
def with_password(running: RunningSite) -> None:
    set_password(running.store)


@pytest.fixture
def server(running: RunningSite) -> Server:
    return running.server


@pytest.fixture
def client(server: Server) -> WebClient:
    """A client that is logged in."""
    new_client = WebClient(server)
    new_client.log_in()
    return new_client


def is_logged_in(client: WebClient) -> bool:
    response = client.get("/account")
    assert response.status in (200, 303)
    return response.status == 200


def cookie_key(store: Store) -> bytes:
    with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn:
        return bytes(conn.execute("SELECT cookie_key FROM admin").fetchone()[0])


def invalid_fields(response: Response) -> list[str]:
    """Return the fields marked as invalid, after checking that each has an error message."""
    attrs_by_id = {attrs["id"]: attrs for _, attrs in find_tags(response) if "id" in attrs}
    invalid_ids = [id for id, attrs in attrs_by_id.items() if attrs.get("aria-invalid") == "true"]
    assert all(
        f"{id}-error" in attrs_by_id and f"{id}-error" in attrs_by_id[id]["aria-describedby"].split()
        for id in invalid_ids
    )
    return invalid_ids


def test_the_password_logs_in(server: Server) -> None:
    client = WebClient(server)
    assert not is_logged_in(client)
    assert client.follow(client.log_in()).status == 200
    assert is_logged_in(client)
    assert redirect_path(client.get("/login")) == "/"  # already logged in


@pytest.mark.parametrize("password", ["", "wrong, and long enough", PASSWORD[:-1], PASSWORD.upper(), "x" * 50_000])
def test_a_wrong_password_does_not_log_in(server: Server, password: str) -> None:
    client = WebClient(server)
    response = client.post("/login", {"password": password})
    assert (response.status, invalid_fields(response), client.cookies) == (401, ["password"], {})
    assert "value" not in dict(find_tags(response, "input"))
    WebClient(server).log_in()  # resets the count of wrong passwords


def test_a_password_may_be_typed_in_any_unicode_normal_form(store: Store, start: Start) -> None:
    set_password(store, "caf\u00e9 au lait")
    WebClient(start(store)).log_in("cafe\u0301 au lait")


@pytest.mark.parametrize("path", ["/account", "/sites/my-site/settings/people?q=a+b%26c", "/new-site"])
def test_login_redirects_to_the_requested_page(server: Server, path: str) -> None:
    client = WebClient(server)
    form = client.follow(client.get(path))
    next_value = next(attrs["value"] for _, attrs in find_tags(form, "input") if attrs.get("name") == "next")
    failed_response = client.post("/login", {"password": "wrong, this once", "next": next_value})
    assert next_value in [attrs.get("value") for _, attrs in find_tags(failed_response, "input")]
    response = client.post("/login", {"password": PASSWORD, "next": next_value})
    assert (response.status, response.headers["location"]) == (303, path)
    assert client.get(f"/login?next={next_value}").headers["location"].startswith(path.partition("?")[0])


@pytest.mark.parametrize(
    "to",
    [
        *("//evil.example", "///evil.example", "https://evil.example", "evil.example", "javascript:alert(1)"),
        *("/\\evil.example", "\\\\evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example"),
        *("/\r\n/evil.example", "/\r\nX: y", "/\u2028/evil.example"),
    ],
)
def test_login_never_redirects_to_another_host(server: Server, to: str) -> None:
    client = WebClient(server)
    response = client.post("/login", {"password": PASSWORD, "next": to})
    assert (response.status, response.headers["location"]) == (303, "/")
    again = client.get("/login?next=" + "".join(f"%{byte:02x}" for byte in to.encode()))
    assert (again.status, again.headers["location"]) == (303, "/")


def test_logging_out_also_invalidates_copies_of_the_cookie(server: Server, client: WebClient) -> None:
    thief, other = WebClient(server), WebClient(server)
    thief.cookies = dict(client.cookies)
    other.log_in()
    assert is_logged_in(thief)
    assert redirect_path(client.post("/logout")) == "/login"
    assert not is_logged_in(client)
    assert not is_logged_in(thief)
    assert is_logged_in(other)


def test_a_new_password_ends_all_other_sessions(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store)
    client, other = WebClient(server), WebClient(server)
    client.log_in()
    other.log_in()
    before = dict(client.cookies)
    for form, field in (
        ({"current": "not this one", "password": OTHER_PASSWORD}, "current"),
        ({"current": PASSWORD, "password": "too short"}, "password"),
        ({"current": PASSWORD, "password": ""}, "password"),
    ):
        response = client.post("/account", form)
        assert (response.status, invalid_fields(response)) == (400, [field])
        assert OTHER_PASSWORD not in response.body.decode()
    assert is_logged_in(other)
    done = client.post("/account", {"current": PASSWORD, "password": OTHER_PASSWORD})
    assert redirect_path(done) == "/account"
    assert b'role="status"' in client.follow(done).body
    assert is_logged_in(client)
    assert not is_logged_in(other)
    other.cookies = before
    assert not is_logged_in(other)
    assert other.post("/login", {"password": PASSWORD}).status == 401
    other.log_in(OTHER_PASSWORD)


@pytest.mark.parametrize("base_url", ["", "HTTPS://example.com/", "https://example.com/stats/"])
def test_the_cookie_is_hidden_from_scripts_and_other_sites(store: Store, start: Start, base_url: str) -> None:
    path, secure = "/stats" if "stats" in base_url else "/", base_url.lower().startswith("https:")
    set_password(store)
    server = start_behind(start, store, base_url) if base_url else start(store)
    response = WebClient(server, path.rstrip("/")).log_in()
    flags = [flag.strip().lower() for flag in response.headers["set-cookie"].split(";")[1:]]
    assert {"httponly", "samesite=lax", f"path={path}"} <= set(flags)
    assert ("secure" in flags) == secure
    assert not any(flag.startswith("domain") for flag in flags)


class BackdatedSigner(TimestampSigner):
    """Signs with a timestamp of `age_s` seconds ago."""

    def __init__(self, store: Store, age_s: int) -> None:
        super().__init__(cookie_key(store).hex())
        self._timestamp_s = int(time.time()) - age_s

    def get_timestamp(self) -> int:
        return self._timestamp_s


def test_a_forged_cookie_is_refused(server: Server, client: WebClient) -> None:
    ((name, good),) = client.cookies.items()
    payload, stamp, signature = good.split(".")
    guessed = b64encode(json.dumps({"id": "guess"}).encode()).decode()
    forged = [
        *(f"X{payload[1:]}.{stamp}.{signature}", f"{payload}.X{stamp[1:]}.{signature}", f"{payload}.{stamp}.!"),
        *(f"{payload}.{stamp}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}", good[:-2], f"{good}.{signature}"),
        *(f"{guessed}.{stamp}.{signature}", guessed, payload, f"{payload}.{stamp}", f"{payload}..{signature}"),
        *("", ".", "..", "...", "null", "true", "%00", "\xff\xfe", '"', "=;=", "a" * 30_000, f"{payload}." * 100),
    ]
    other_client = WebClient(server)
    for value in forged:
        other_client.cookies = {name: value}
        assert not is_logged_in(other_client), value
        assert other_client.post("/account", {"current": PASSWORD, "password": OTHER_PASSWORD}).status == 401
        assert other_client.get("/login").status == 200
    assert is_logged_in(client)


def test_an_old_cookie_is_refused(running: RunningSite, client: WebClient) -> None:
    ((name, good),) = client.cookies.items()
    payload = good.partition(".")[0]
    for days, opens in (0, True), (29, True), (31, False), (365, False), (-1, False):
        client.cookies = {name: BackdatedSigner(running.store, days * DAY_S).sign(payload).decode()}
        assert is_logged_in(client) == opens, days


def test_a_session_expires_even_if_its_cookie_is_new(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start(store))
    client.log_in()
    for days, opens in (29, True), (2, False):
        with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn, conn:
            conn.execute("UPDATE login_sessions SET started_at = started_at - ?", (days * DAY_S * 1000,))
        assert is_logged_in(client) == opens, days


def test_a_signed_value_without_a_session_is_refused(running: RunningSite, client: WebClient) -> None:
    ((name, _),) = client.cookies.items()
    for session in ({"id": "unknown"}, {"id": 1}, {"id": None}, {"id": ["x"]}, {}, {"id": ""}, {"setup": "x"}):
        payload = b64encode(json.dumps(session).encode())
        client.cookies = {name: BackdatedSigner(running.store, 0).sign(payload).decode()}
        assert not is_logged_in(client), session


def test_a_cookie_of_another_server_is_refused(server: Server, client: WebClient, store: Store, start: Start) -> None:
    set_password(store)
    other = WebClient(start(store))
    other.log_in()
    ((name, value),) = client.cookies.items()
    ((others_name, others_value),) = other.cookies.items()
    assert name != others_name  # both servers can be used on one host
    for cookies in ({name: others_value}, {others_name: others_value}, {others_name: value}):
        new_client = WebClient(server)
        new_client.cookies = cookies
        assert not is_logged_in(new_client)
    client.cookies |= other.cookies
    assert is_logged_in(client)


def test_the_store_contains_no_usable_cookie(running: RunningSite, client: WebClient) -> None:
    ((_, value),) = client.cookies.items()
    token = json.loads(b64decode(value.partition(".")[0]))["id"].encode()
    assert all(token not in path.read_bytes() for path in running.store.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in _SIGNED_IN_PAGES])
def test_pages_and_forms_require_a_login(server: Server, method: str, path: str) -> None:
    path = path.replace("{site}", "my-site").replace("{", "x-").replace("}", "")
    client = WebClient(server)
    if method == "GET":
        response = client.get(path + "?page=1")
        assert (response.status, response.headers["location"]) == (303, f"/login?next={path}%3Fpage%3D1")
        assert client.get(path.replace("my-site", "no-site")).status == 303
    else:
        page_response, api_response = client.post(path), client.post(path, accept="*/*")
        assert (page_response.status, len(find_tags(page_response, "h1"))) == (401, 1)
        assert page_response.headers["content-type"].startswith("text/html")
        assert api_response.error == (401, "unauthorized", None)
        assert client.post(path.replace("my-site", "no-site")).status == 401
