"""What keeps other pages out of ours: whose forms are taken, and what browsers are told."""

import shutil

import pytest

from tests.conftest import Start, Store
from tests.support.all_pages import EVIL, SETTINGS, all_pages, entered, fill, is_sound
from tests.support.browserless import PASSWORD, Person, path_of, set_password, start_at, tags

FOREIGN = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": ""} | {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": EVIL, "sec_fetch_site": "cross-site", "accept": "*/*"},
]
SILENT = [
    {"origin": ""},
    {"origin": "", "accept": "*/*"},
    {"origin": "", "referer": f"{EVIL}/login"},
    {"origin": "", "referer": "http://127.0.0.1:1/login"},
    {"origin": "", "referer": "about:blank"},
    {"origin": "", "referer": "http://["},
    {"origin": "", "referer": "://"},
]
FORMS: dict[str, dict[str, str]] = {
    "/login": {"password": PASSWORD},
    "/setup": {"password": PASSWORD},
    "/logout": {},
    "/account": {"current": PASSWORD, "password": "something else altogether"},
    "/new-site": {"domain": "evil.example"},
    f"{SETTINGS}/general": {"name": "Evil"},
    f"{SETTINGS}/delete": {"confirm": "my-site"},
    f"{SETTINGS}/keys": {"label": "evil", "tier": "free"},
    f"{SETTINGS}/keys/jwt-secret": {},
    f"{SETTINGS}/goals": {"name": "Evil", "kind": "path", "path": "/"},
    "/nothing": {},
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Person]:
    store = Store(tmp_path_factory.mktemp("filled") / "data")
    key = fill(store)
    return store, entered(start(store, "--webhook-allow-net", "127.0.0.0/8"), key)


def test_every_page_keeps_others_out_and_has_nothing_inline(filled: tuple[Store, Person]) -> None:
    statuses = set()
    for _, answer in all_pages(filled[1]):
        is_sound(answer)
        statuses.add(answer.status)
    assert statuses == {200, 303, 400, 401, 403, 404, 405, 413}


def test_so_do_the_pages_before_the_set_up(store: Store, start: Start) -> None:
    person = Person(start(store))
    for path in ("/", "/login", "/setup", "/account"):
        is_sound(person.get(path))


def test_so_does_a_page_that_tells_of_a_fault(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start(store))
    shutil.rmtree(store.path)
    answer = person.post("/login", {"password": PASSWORD})
    assert (answer.status in (500, 503), len(tags(answer, "h1"))) == (True, 1)
    is_sound(answer)


def test_files_may_be_kept_by_browsers(filled: tuple[Store, Person]) -> None:
    person = filled[1]
    page = Person(person.server).get("/login")
    files = [at.get("src") or at["href"] for tag, at in tags(page) if tag in ("script", "link", "img")]
    assert len(files) >= 4
    for path in (*files, "/js/ovx.js"):
        answer = person.get(path)
        assert (answer.status, "set-cookie" in answer.headers) == (200, False), path
        assert "no-store" not in answer.headers.get("cache-control", "")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", FORMS)
def test_what_another_page_sends_is_refused_and_does_nothing(filled: tuple[Store, Person], path: str) -> None:
    store, person = filled
    before = what_is_there(store)
    for headers in [*FOREIGN, *(SILENT if path != "/nothing" else [])]:
        answer = person.post(path, FORMS[path], **headers)
        assert (answer.status, "set-cookie" in answer.headers) == (403, False), headers
        if "accept" in headers:
            assert answer.error == (403, "forbidden", None)
        else:
            assert len(tags(answer, "h1")) == 1
    assert what_is_there(store) == before
    assert person.get("/account").status == 200


def what_is_there(store: Store) -> list[object]:
    keys = [key | {"last_used": None} for key in store.call("key", "list", "my-site")]  # which is written down later
    return [store.call("site", "list"), keys, store.call("goal", "list", "my-site")]


def test_the_set_up_is_not_done_by_another_page(store: Store, start: Start) -> None:
    server = start(store)
    person = Person(server)
    for headers in FOREIGN:
        assert person.post("/setup", {"password": PASSWORD}, **headers).status == 403
    assert path_of(person.get("/account")) == "/login"
    assert b"once" in server.log.read_bytes()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "", "sec_fetch_site": "same-origin"},
        {"origin": "", "referer": "SERVER/login?next=/"},
    ],
)
def test_what_our_pages_send_is_taken(filled: tuple[Store, Person], headers: dict[str, str]) -> None:
    headers = {name: value.replace("SERVER", filled[1].server.url) for name, value in headers.items()}
    assert Person(filled[1].server).post("/login", {"password": PASSWORD}, **headers).status == 303


@pytest.mark.parametrize("base", ["https://Example.com", "https://example.com:443/stats", "http://example.com:80/"])
def test_behind_a_proxy_the_base_url_is_ours(store: Store, start: Start, base: str) -> None:
    set_password(store)
    person = Person(start_at(start, store, base))
    ours = base.partition(":")[0] + "://example.com"
    for origin, status in (ours, 303), (ours + ".evil.example", 403), ("https://www.example.com", 403):
        assert person.post("/login", {"password": PASSWORD}, origin=origin, host="inside:8321").status == status


def test_behind_a_proxy_a_referer_of_the_base_url_is_ours(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start_at(start, store, "https://example.com/stats"))
    for referer, status in ("https://example.com/stats/login", 303), ("https://example.com.evil.example/", 403):
        answer = person.post("/login", {"password": PASSWORD}, origin="", referer=referer)
        assert answer.status == status, referer


def test_programs_need_not_say_where_they_come_from(filled: tuple[Store, Person]) -> None:
    server, key = filled[1].server, filled[0].key()
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day"}
    assert server.send("/api/v1/stats/query", query, key).status == 200
    assert server.send("/nothing", {}).status == 404


def test_a_trusted_proxy_says_whether_it_is_https(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start(store, "--trusted-proxies", "127.0.0.1", "--allow-host", "stats.example"))
    told = {"origin": "https://stats.example", "host": "stats.example", "x_forwarded_proto": "https"}
    assert person.post("/login", {"password": PASSWORD}, **told).status == 303
    assert person.post("/login", {"password": PASSWORD}, **told | {"x_forwarded_proto": "http"}).status == 403


def test_events_come_from_any_page(filled: tuple[Store, Person]) -> None:
    server, url = filled[1].server, "https://example.com/from-afar"
    event = {"projectKey": "my-site", "visitorId": "v_1", "type": "pageview", "url": url}
    for headers in {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}:
        assert server.send("/api/events", event, headers=headers).status in (200, 201, 202)
    assert [event["path"] for event in filled[0].events()].count("/from-afar") == 2


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1_000_000])
def test_a_form_that_is_too_large_is_refused(filled: tuple[Store, Person], size: int) -> None:
    for path in "/login", "/account", "/new-site", f"{SETTINGS}/general":
        body = b"x=".ljust(size, b"x")
        assert filled[1].post(path, body).status == 413
        assert filled[1].post(path, body, accept="*/*").error == (413, "payload_too_large", None)
        assert filled[1].post(path, b"x=".ljust(64 * 1024, b"x")).status < 500
    Person(filled[1].server).log_in()


BROKEN = [b"\xff\xfe", b"password=%ff", b"domain=%C3%28", b"\x80=1", b"&".join(b"a=1" for _ in range(300))]


@pytest.mark.parametrize("path", ["/login", "/account", "/new-site", f"{SETTINGS}/general", f"{SETTINGS}/keys"])
def test_a_body_that_is_no_form_is_refused(filled: tuple[Store, Person], path: str) -> None:
    store, person = filled
    before = what_is_there(store)
    for body in BROKEN:
        assert person.post(path, body).status == 400, body
    for kind in "application/json", "text/plain", "multipart/form-data; boundary=x":
        assert person.post(path, b'{"password": "something else"}', content_type=kind).status == 400, kind
    assert what_is_there(store) == before


def test_no_path_breaks_the_server(filled: tuple[Store, Person]) -> None:
    odd = ["%00", "%ff", "a" * 5000, "%2e%2e/%2e%2e/pyproject.toml", "..%2ftemplates/login.html", "%0d%0aX:y", "\\..\\"]
    for name in odd:
        for place in ("/", "/static/", "/sites/", f"{SETTINGS}/deliveries/", f"{SETTINGS}/people/"):
            answer = filled[1].get(place + name)
            assert answer.status in (302, 303, 307, 400, 404), (place, name)
            assert "x" not in answer.headers
