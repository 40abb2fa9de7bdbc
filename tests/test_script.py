"""The browser script: how it is served, and what it sends from real pages in a real Chromium."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Page

from ovx_lite import __version__
from ovx_lite.web.common.templating import find_folder
from tests.conftest import CHROME, Response, RunningSite

IDS = "[overcentricDeviceId, overcentricSessionId]"
TRACKER = (Path(__file__).parents[1] / "docs" / "tracker.md").read_text("utf-8")
STUB = TRACKER.split("<script>")[1].split("</script>")[0] + "; "
THROW = "() => { throw new Error() }"
WEBDRIVER = "Object.defineProperty(navigator, 'webdriver', {value: true})"


def get(running: RunningSite, query: str = "", method: str = "GET", **headers: str) -> Response:
    request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return running.server.send("/js/ovx.js" + query, headers=request_headers, method=method)


def test_the_script_is_small_and_complete(running: RunningSite) -> None:
    plain, zipped = get(running), get(running, accept_encoding="gzip")
    assert len(zipped.body) <= 1500
    assert gzip.decompress(zipped.body) == plain.body
    assert not re.search(rb"^(\s|//|$)", plain.body.rstrip(), re.MULTILINE)
    source = (find_folder("static") / "ovx.js").read_text("utf-8")
    texts = re.findall(r"'[^'\n]*'", re.sub(r"^ *//.*", "", source, flags=re.MULTILINE))
    assert len(texts) > 20
    assert [text for text in texts if text.encode() not in plain.body] == [], (
        "minification must not change string literals"
    )


def test_any_page_may_load_the_script(running: RunningSite) -> None:
    response, head = get(running), get(running, method="HEAD")
    assert (response.status, response.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["vary"] == "Accept-Encoding"
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(response.body)))
    assert get(running, method="POST").status == 405
    for query in ("", "?v=0", f"?w={__version__}"):
        assert get(running, query).headers["cache-control"] == "public, max-age=3600, stale-while-revalidate=31536000"
    assert get(running, f"?v={__version__}").headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_script_is_compressed_if_the_client_accepts_gzip(running: RunningSite) -> None:
    for accepted in ("gzip", "br, GZIP;q=0.5", "*", "gzip;q=0.001", "*;q=0, gzip"):
        assert get(running, accept_encoding=accepted).headers["content-encoding"] == "gzip", accepted
    for accepted in ("", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0"):
        assert "content-encoding" not in get(running, accept_encoding=accepted).headers, accepted


def test_an_unchanged_script_is_not_sent_again(running: RunningSite) -> None:
    plain, zipped = get(running).headers["etag"], get(running, accept_encoding="gzip").headers["etag"]
    assert plain != zipped
    for if_none_match in (plain, f"W/{plain}", f'"x", {plain}', "*"):
        response = get(running, if_none_match=if_none_match)
        assert (response.status, response.body, response.headers["etag"]) == (304, b"", plain)
        assert {"vary", "cache-control"} <= response.headers.keys()
    assert get(running, if_none_match=f'"x", {zipped}').status == 200
    assert get(running, if_none_match=zipped, accept_encoding="gzip").status == 304


@dataclass
class Web:
    """A web site on another origin than the server."""

    running: RunningSite
    tag: str
    url: str = ""
    pages: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add_page(self, path: str, body: str = "", attributes: str = "", status: int = 200) -> str:
        """Add a page with the script, and return its URL."""
        self.pages[path] = (status, f"<!doctype html>{body}{self.tag.replace('>', f' {attributes}>', 1)}")
        return self.url + path

    def leave_and_read_events(
        self, page: Page, path_prefix: str, view_count: int, *other_names: str
    ) -> list[dict[str, Any]]:
        """Leave the page, and wait for the events below a path: the views, an engagement each, and the others."""
        page.goto(self.url + "/elsewhere")
        deadline_s, names = time.monotonic() + 20, sorted([*["pageview", "engagement"] * view_count, *other_names])
        events: list[dict[str, Any]] = []
        while len(events) < len(names) and time.monotonic() < deadline_s:
            events = [row for row in self.running.store.events() if row["path"].startswith(path_prefix)]
        assert sorted(row["name"] for row in events) == names
        return sorted(events, key=lambda row: (row["name"], row["path"], str(row["props"]), str(row["referrer"])))


@pytest.fixture(scope="module")
def web(running: RunningSite) -> Iterator[Web]:
    key = running.store.run("site", "list", "--json").json[0]["public_key"]
    web = Web(running, f'<script defer src="{running.server.url}/js/ovx.js" data-key="{key}"></script>')

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, html = web.pages.get(self.path.partition("?")[0], (404, "Nothing"))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield web
        server.shutdown()


@pytest.fixture(scope="module")
def visitor_browser(browser_type: BrowserType, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    # Unlike pytest-playwright's own browser, this one does not reveal that it is automated and headless.
    extra_args = ["--disable-blink-features=AutomationControlled", f"--user-agent={CHROME}"]
    args = [*browser_type_launch_args["args"], *extra_args]
    with browser_type.launch(**{**browser_type_launch_args, "args": args}) as browser:
        yield browser


@pytest.fixture
def page(visitor_browser: Browser) -> Iterator[Page]:
    with visitor_browser.new_context() as context:
        page, problems = context.new_page(), list[str]()
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        assert problems == []


def test_the_first_page_sends_a_pageview_and_an_engagement(web: Web, page: Page) -> None:
    page.goto(
        web.add_page("/first") + "?utm_source=news&q=secret#section", referer="https://search.example/find?q=secret"
    )
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert page.context.cookies() == []
    engagement, view = web.leave_and_read_events(page, "/first", 1)
    assert (view["type"], view["referrer"], view["utm_source"]) == ("pageview", "search.example/find", "news")
    assert (view["host"], view["browser"], engagement["type"]) == ("127.0.0.1", "Chrome", "event")
    assert view["visitor"] == engagement["visitor"] is not None
    assert engagement["props"].keys() == {"ms", "scroll"}


def test_each_route_of_a_single_page_app_is_a_pageview(web: Web, page: Page) -> None:
    page.goto(web.add_page("/app/"))
    page.evaluate("history.pushState({}, '', '/app/a?x=1'); history.pushState({}, '', '/app/a?x=2')")
    page.evaluate("location.hash = 'section'; history.replaceState({}, '', '/app/b')")
    page.evaluate("history.pushState({}, '', '/app/c')")
    page.go_back()
    rows = web.leave_and_read_events(page, "/app/", 5)
    pages = ["/app/", "/app/a", "/app/b", "/app/b", "/app/c"]
    assert [row["path"] for row in rows] == pages * 2, "pageviews and engagements"
    referrers = [(row["referrer"] or "").partition("/")[2] for row in rows if row["name"] == "pageview"]
    assert referrers == ["", "app/", "app/a", "app/c", "app/b"]


def test_hash_routes_are_pageviews(web: Web, page: Page) -> None:
    page.goto(web.add_page("/hash") + "?utm_source=news#/pricing?tab=1")
    for fragment in ("#/pricing?tab=2", "#!/team", "#/", "#section"):
        page.evaluate("fragment => location.hash = fragment", fragment)
    rows = web.leave_and_read_events(page, "/hash", 3)
    assert [row["path"] for row in rows] == ["/hash", "/hash/pricing", "/hash/team"] * 2
    assert {row["utm_source"] for row in rows} == {"news"}


def test_clicks_are_sent_as_events(web: Web, page: Page) -> None:
    links = {
        "out": "https://other.example/a?q=secret#b",
        "pdf": "/b.pdf?q=secret",
        "in": "/c?q",
        "mail": "mailto:x@y.z",
    }
    body = "".join(f'<a id="{id}" href="{href}"><b>{id}</b></a> ' for id, href in links.items())
    body += (
        '<a href="/d" download>d</a> <button data-ovx-event="Sign up" data-ovx-plan="pro" data-x="1"><b>x</b></button>'
    )
    page.goto(web.add_page("/clicks", body))
    page.evaluate("document.addEventListener('click', event => event.preventDefault())")
    for selector in ("#out b", "#pdf b", "#in b", "#mail b", "a[download]", "button b"):
        page.click(selector)
    page.click("#in", button="right")
    page.context.on("page", lambda opened: opened.close())
    page.click("#in", button="middle")
    inside = ("click", {"href": f"{web.url}/c", "id": "in"})
    expected = [("Sign up", {"plan": "pro"}), inside, inside, ("click", {"href": "mailto:", "id": "mail"})]
    expected += [("download", {"href": f"{web.url}/b.pdf", "id": "pdf"}), ("download", {"href": f"{web.url}/d"})]
    expected += [("outbound", {"href": "https://other.example/a", "id": "out"})]
    rows = web.leave_and_read_events(page, "/clicks", 1, *(name for name, _ in expected))
    events = [(row["name"], row["props"]) for row in rows if row["name"] not in ("pageview", "engagement")]
    assert events == expected


def test_form_values_are_not_sent(web: Web, page: Page) -> None:
    fields = '<input name="id" value="secret"><input name="mail"><textarea name="x">secret</textarea>'
    page.goto(
        web.add_page(
            "/form", f'<form id="ask" name="question" action="/elsewhere">{fields}<button>send</button></form>'
        )
    )
    page.fill("[name=mail]", "secret@example.com")
    page.click("button")
    _, submitted, _ = rows = web.leave_and_read_events(page, "/form", 1, "form_submit")
    assert (submitted["type"], submitted["name"]) == ("form_submit", "form_submit")
    assert submitted["props"] == {"id": "ask", "name": "question", "fields": ["id", "mail", "x"]}
    assert "secret" not in json.dumps(rows)


def test_a_page_may_call_the_script_before_and_after_it_loads(web: Web, page: Page) -> None:
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text))
    page.goto(
        web.add_page("/calls", f"<script>{STUB}ovx('early', {{n: 1}})</script>{web.tag}")
    )  # the page includes the script twice
    page.evaluate("const round = {}; round.round = round; ovx('round', round); ovx('late'); ovx('pageview')")
    assert [text.startswith("TypeError") for text in warnings] == [True]
    assert web.leave_and_read_events(page, "/calls", 2, "early", "late")[0]["props"] == {"n": 1}


def test_the_scroll_depth_is_sent_once(web: Web, page: Page) -> None:
    page.set_viewport_size({"width": 800, "height": 500})
    page.goto(web.add_page("/seen", '<style>body { margin: 0 }</style><div style="height: 2000px"></div>'))
    for top in (1000, 0):
        page.evaluate("top => new Promise(done => { onscroll = done; scrollTo(0, top) })", top)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('pagehide'))")
    assert web.leave_and_read_events(page, "/seen", 1)[0]["props"]["scroll"] == 75


def test_a_page_restored_from_the_cache_is_a_new_pageview(web: Web, page: Page) -> None:
    page.goto(web.add_page("/close"))
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    page.evaluate("addEventListener('pagehide', () => ovx('last'))")
    page.close(run_before_unload=True)
    rows = web.leave_and_read_events(page.context.new_page(), "/close", 2, "last")
    assert {row["referrer"] for row in rows} == {None}


def test_a_missing_page_sends_a_404_event(web: Web, page: Page) -> None:
    page.goto(web.add_page("/gone/status", status=404), referer="https://other.example/a?q=secret")
    page.goto(web.add_page("/gone/tag", attributes="data-404"))
    page.goto(web.add_page("/gone/not"))
    first, second, *_ = web.leave_and_read_events(page, "/gone", 3, "404", "404")
    assert (first["path"], first["props"]) == ("/gone/status", {"referrer": "https://other.example/a"})
    assert (second["path"], second["props"]) == ("/gone/tag", None)


@pytest.mark.parametrize("init_script", ["window.origin == 'null' || (localStorage.ovx_ignore = 1)", WEBDRIVER])
def test_ignored_and_automated_browsers_send_nothing(web: Web, page: Page, init_script: str) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.method))
    page.add_init_script(init_script)
    page.goto(web.add_page("/quiet", '<a href="#x">x</a>', "data-ids"))
    page.click("a")
    page.evaluate("ovx('x')")
    assert page.evaluate("localStorage.ovx_device || window.overcentricDeviceId") is None
    web.leave_and_read_events(page, "/quiet", 0)
    assert set(requests) == {"GET"}


def test_device_and_session_ids_are_stored_on_request(web: Web, page: Page) -> None:
    page.goto(web.add_page("/ids", attributes="data-ids"))
    device, session = page.evaluate(IDS)
    page.reload()
    assert page.evaluate(IDS) == [device, session]
    assert page.evaluate("[localStorage.ovx_device, localStorage.ovx_session.split(' ')[0]]") == [device, session]
    assert page.context.cookies() == []
    page.evaluate("id => localStorage.ovx_session = id + ' ' + (Date.now() - 31 * 60000)", session)
    page.evaluate("ovx('later')")
    assert page.evaluate(IDS)[0] == device
    assert page.evaluate(IDS)[1] not in (device, session)
    rows = web.leave_and_read_events(page, "/ids", 2, "later")
    assert (len({row["visitor"] for row in rows}), len({row["visit"] for row in rows})) == (1, 2)


@pytest.mark.parametrize("storage", [THROW, f"() => new Proxy({{}}, {{set: {THROW}}})", "() => null"])
def test_ids_work_without_storage(web: Web, page: Page, storage: str) -> None:
    page.add_init_script(f"Object.defineProperty(window, 'localStorage', {{get: {storage}}})")
    path = f"/memory-{len(storage)}"
    page.goto(web.add_page(path, attributes="data-ids"))
    first = page.evaluate(IDS)
    page.evaluate("ovx('x')")
    assert page.evaluate(IDS) == first
    assert len({row["visit"] for row in web.leave_and_read_events(page, path, 1, "x")}) == 1


def test_a_prerendered_page_is_sent_once_it_is_displayed(web: Web, page: Page) -> None:
    page.add_init_script("Object.defineProperty(document, 'prerendering', {value: true, configurable: true})")
    page.goto(web.add_page("/advance"))
    page.evaluate("ovx('early'); history.replaceState({}, '', '/advance/b')")
    page.evaluate("delete document.prerendering; document.dispatchEvent(new Event('prerenderingchange'))")
    assert {row["path"] for row in web.leave_and_read_events(page, "/advance", 1, "early")} == {"/advance/b"}


@pytest.mark.parametrize("beacon", ["undefined", "() => false", "() => true"])
def test_the_script_works_below_a_path_and_without_beacons(web: Web, page: Page, beacon: str) -> None:
    script, sent_urls = get(web.running).body, list[str]()
    page.route("**/sub/js/**", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.route("**/sub/api/**", lambda route: route.fulfill(status=200))
    page.on("request", lambda request: sent_urls.append(request.url) if request.method == "POST" else None)
    web.pages["/below"] = (200, '<script src="/sub/js/ovx.js?v=/1" data-key="k"></script>')
    page.add_init_script(f"navigator.sendBeacon = {beacon}")
    page.goto(web.url + "/below", wait_until="networkidle")
    assert sent_urls == ([] if beacon == "() => true" else [f"{web.url}/sub/api/events"])
