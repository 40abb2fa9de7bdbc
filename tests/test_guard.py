"""Protection against other websites: which forms are accepted, and the security headers."""

import shutil

import pytest

from tests.conftest import Start, Store
from tests.support.all_pages import EVIL, SETTINGS, all_pages, assert_protected, fill_store, log_in_with_data
from tests.support.browserless import PASSWORD, WebClient, find_tags, redirect_path, set_password, start_behind

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
def filled(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, WebClient]:
    store = Store(tmp_path_factory.mktemp("filled") / "data")
    key = fill_store(store)
    return store, log_in_with_data(start(store, "--webhook-allow-net", "127.0.0.0/8"), key)


def test_every_page_forbids_frames_and_has_no_inline_code(filled: tuple[Store, WebClient]) -> None:
    statuses = set()
    for _, response in all_pages(filled[1]):
        assert_protected(response)
        statuses.add(response.status)
    assert statuses == {200, 303, 400, 401, 403, 404, 405, 413}


def test_the_setup_pages_have_the_same_protection(store: Store, start: Start) -> None:
    client = WebClient(start(store))
    for path in ("/", "/login", "/setup", "/account"):
        assert_protected(client.get(path))


def test_an_internal_error_page_has_the_same_protection(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start(store))
    shutil.rmtree(store.path)
    response = client.post("/login", {"password": PASSWORD})
    assert (response.status in (500, 503), len(find_tags(response, "h1"))) == (True, 1)
    assert_protected(response)


def test_static_files_are_cacheable(filled: tuple[Store, WebClient]) -> None:
    client = filled[1]
    page = WebClient(client.server).get("/login")
    files = [attrs.get("src") or attrs["href"] for tag, attrs in find_tags(page) if tag in ("script", "link", "img")]
    assert len(files) >= 4
    for path in (*files, "/js/ovx.js"):
        response = client.get(path)
        assert (response.status, "set-cookie" in response.headers) == (200, False), path
        assert "no-store" not in response.headers.get("cache-control", "")
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", FORMS)
def test_a_form_from_another_website_is_refused_and_changes_nothing(filled: tuple[Store, WebClient], path: str) -> None:
    store, client = filled
    before = stored_state(store)
    for headers in [*FOREIGN, *(SILENT if path != "/nothing" else [])]:
        response = client.post(path, FORMS[path], **headers)
        assert (response.status, "set-cookie" in response.headers) == (403, False), headers
        if "accept" in headers:
            assert response.error == (403, "forbidden", None)
        else:
            assert len(find_tags(response, "h1")) == 1
    assert stored_state(store) == before
    assert client.get("/account").status == 200


def stored_state(store: Store) -> list[object]:
    keys = [key | {"last_used": None} for key in store.call("key", "list", "my-site")]  # it is saved later
    return [store.call("site", "list"), keys, store.call("goal", "list", "my-site")]


def test_another_website_cannot_do_the_setup(store: Store, start: Start) -> None:
    server = start(store)
    client = WebClient(server)
    for headers in FOREIGN:
        assert client.post("/setup", {"password": PASSWORD}, **headers).status == 403
    assert redirect_path(client.get("/account")) == "/login"
    assert b"once" in server.log_path.read_bytes()


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
def test_forms_from_our_own_pages_are_accepted(filled: tuple[Store, WebClient], headers: dict[str, str]) -> None:
    headers = {name: value.replace("SERVER", filled[1].server.url) for name, value in headers.items()}
    assert WebClient(filled[1].server).post("/login", {"password": PASSWORD}, **headers).status == 303


@pytest.mark.parametrize("base", ["https://Example.com", "https://example.com:443/stats", "http://example.com:80/"])
def test_behind_a_proxy_the_base_url_is_our_origin(store: Store, start: Start, base: str) -> None:
    set_password(store)
    client = WebClient(start_behind(start, store, base))
    base_origin = base.partition(":")[0] + "://example.com"
    for origin, status in (base_origin, 303), (base_origin + ".evil.example", 403), ("https://www.example.com", 403):
        assert client.post("/login", {"password": PASSWORD}, origin=origin, host="inside:8321").status == status


def test_behind_a_proxy_a_referer_with_the_base_url_is_accepted(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start_behind(start, store, "https://example.com/stats"))
    for referer, status in ("https://example.com/stats/login", 303), ("https://example.com.evil.example/", 403):
        response = client.post("/login", {"password": PASSWORD}, origin="", referer=referer)
        assert response.status == status, referer


def test_programs_need_no_origin_header(filled: tuple[Store, WebClient]) -> None:
    server, key = filled[1].server, filled[0].key()
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day"}
    assert server.send("/api/v1/stats/query", query, key).status == 200
    assert server.send("/nothing", {}).status == 404


def test_a_trusted_proxy_determines_the_scheme(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start(store, "--trusted-proxies", "127.0.0.1", "--allow-host", "stats.example"))
    headers = {"origin": "https://stats.example", "host": "stats.example", "x_forwarded_proto": "https"}
    assert client.post("/login", {"password": PASSWORD}, **headers).status == 303
    assert client.post("/login", {"password": PASSWORD}, **headers | {"x_forwarded_proto": "http"}).status == 403


def test_events_are_accepted_from_any_website(filled: tuple[Store, WebClient]) -> None:
    server, url = filled[1].server, "https://example.com/from-afar"
    event = {"projectKey": "my-site", "visitorId": "v_1", "type": "pageview", "url": url}
    for headers in {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}:
        assert server.send("/api/events", event, headers=headers).status in (200, 201, 202)
    assert [event["path"] for event in filled[0].events()].count("/from-afar") == 2


@pytest.mark.parametrize("size_bytes", [64 * 1024 + 1, 1_000_000])
def test_a_form_that_is_too_large_is_refused(filled: tuple[Store, WebClient], size_bytes: int) -> None:
    for path in "/login", "/account", "/new-site", f"{SETTINGS}/general":
        body = b"x=".ljust(size_bytes, b"x")
        assert filled[1].post(path, body).status == 413
        assert filled[1].post(path, body, accept="*/*").error == (413, "payload_too_large", None)
        assert filled[1].post(path, b"x=".ljust(64 * 1024, b"x")).status < 500
    WebClient(filled[1].server).log_in()


BROKEN = [b"\xff\xfe", b"password=%ff", b"domain=%C3%28", b"\x80=1", b"&".join(b"a=1" for _ in range(300))]


@pytest.mark.parametrize("path", ["/login", "/account", "/new-site", f"{SETTINGS}/general", f"{SETTINGS}/keys"])
def test_a_body_that_is_not_a_form_is_refused(filled: tuple[Store, WebClient], path: str) -> None:
    store, client = filled
    before = stored_state(store)
    for body in BROKEN:
        assert client.post(path, body).status == 400, body
    for kind in "application/json", "text/plain", "multipart/form-data; boundary=x":
        assert client.post(path, b'{"password": "something else"}', content_type=kind).status == 400, kind
    assert stored_state(store) == before


def test_no_path_breaks_the_server(filled: tuple[Store, WebClient]) -> None:
    odd = ["%00", "%ff", "a" * 5000, "%2e%2e/%2e%2e/pyproject.toml", "..%2ftemplates/login.html", "%0d%0aX:y", "\\..\\"]
    for name in odd:
        for prefix in ("/", "/static/", "/sites/", f"{SETTINGS}/deliveries/", f"{SETTINGS}/people/"):
            response = filled[1].get(prefix + name)
            assert response.status in (302, 303, 307, 400, 404), (prefix, name)
            assert "x" not in response.headers
