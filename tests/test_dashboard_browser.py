"""The dashboard in a real Chromium: filters in place, keys, the chart's words, who is there; who is kept out."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import CHROME, Server, Start, Store
from tests.support.browserless import set_password
from tests.support.furnished import (
    FurnishedServer,
    accessibility_violations,
    collect_browser_problems,
    log_in,
    type_password,
)
from tests.support.furnished import furnished_server as furnished_server

TWO_DAYS_AGO = datetime.now(UTC) - timedelta(2)
PATHS = ["/", "/", "/", "/pricing", "/pricing", *(f"/blog/{n}" for n in range(9))]


@dataclass
class BusyServer:
    """A server with a site that was visited two days ago."""

    server: Server
    key: str
    url: str
    share: str

    def add_visitor(self, host: int) -> None:
        """Have a visitor look at a page now."""
        client_fields = {"ip_address": f"198.51.100.{host}", "user_agent": CHROME}
        assert self.server.pageview(self.key, **client_fields).status == 201


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, start: Start, browser: Browser) -> BusyServer:
    store = Store(tmp_path_factory.mktemp("busy") / "data")
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Pricing", "--path", "/pricing")
    set_password(store)
    server, key = start(store), store.key()
    common_fields = {"type": "pageview", "user_agent": CHROME, "timestamp": TWO_DAYS_AGO.isoformat()}
    views = [
        {"url": f"https://example.com{p}", "ip_address": f"203.0.113.{n}", **common_fields} for n, p in enumerate(PATHS)
    ]
    assert server.batch(key, *views).status == 201
    busy_server = BusyServer(server, key, f"{server.url}/sites/my-site", "")
    with browser.new_context() as context:
        page = log_in(context.new_page(), server)
        page.goto(f"{busy_server.url}/settings/sharing")
        page.get_by_role("button", name="Create link").click()
        busy_server.share = page.locator("code", has_text="/share/").first.inner_text()
    return busy_server


@pytest.fixture
def dash(page: Page, busy: BusyServer) -> Iterator[Page]:
    """The dashboard, on which nothing goes wrong."""
    log_in(page, busy.server)
    problems = collect_browser_problems(page)
    page.goto(busy.url)
    page.evaluate("window.sameDocument = true")
    yield page
    assert problems == []


def is_same_document(page: Page) -> bool:
    """Whether no other document was loaded meanwhile."""
    return bool(page.evaluate("window.sameDocument === true"))


def pages(page: Page) -> list[str]:
    return page.locator("#panel-pages .what a").all_inner_texts()


def choose(page: Page, path: str) -> None:
    """Click the row of a page, and see its chip."""
    page.locator("#panel-pages").get_by_role("link", name=path, exact=True).click()
    expect(page.locator("[data-chip]").last).to_contain_text(f"Page is {path}")


def test_a_row_filters_in_place_and_back_takes_it_away(dash: Page, busy: BusyServer) -> None:
    everything = pages(dash)
    choose(dash, "/pricing")
    assert dash.url == f"{busy.url}?f=is%2Cpage%2C%2Fpricing"
    assert (pages(dash), is_same_document(dash)) == (["/pricing"], True)
    dash.go_back()
    expect(dash.locator("[data-chip]")).to_have_count(0)
    assert (dash.url, pages(dash), is_same_document(dash)) == (busy.url, everything, True)
    dash.go_forward()
    expect(dash.locator("[data-chip]")).to_have_count(1)
    dash.locator("[data-chip]").click()
    expect(dash.locator("[data-chip]")).to_have_count(0)
    assert (pages(dash), is_same_document(dash)) == (everything, True)


def test_a_tab_is_chosen_in_place_and_keeps_the_focus(dash: Page) -> None:
    dash.locator("#panel-pages").get_by_role("link", name="Entry").focus()
    dash.keyboard.press("Enter")
    current = dash.locator("#panel-pages .choices [aria-current]")
    assert is_same_document(dash)
    expect(current).to_be_focused()


def test_keys_choose_periods_and_comparisons(dash: Page) -> None:
    dash.keyboard.press("w")
    dash.wait_for_url("**?period=7d")
    dash.keyboard.press("x")
    dash.wait_for_url("**?period=7d&compare=previous")
    expect(dash.locator(".comparison .from").first).to_contain_text("from")
    dash.keyboard.press("X")
    dash.wait_for_url("**?period=7d")
    dash.keyboard.press("Control+d")
    dash.keyboard.press("T")
    dash.wait_for_url(re.compile("my-site$"))
    assert is_same_document(dash)


def test_keys_take_filters_away(dash: Page) -> None:
    choose(dash, "/pricing")
    dash.locator("#panel-devices").get_by_role("link", name="Chrome").click()
    expect(dash.locator("[data-chip]")).to_have_count(2)
    dash.keyboard.press("Escape")
    expect(dash.locator("[data-chip]")).to_have_count(1)
    expect(dash.locator("[data-chip]")).to_have_text(re.compile("Page is /pricing"))
    dash.locator("#panel-devices").get_by_role("link", name="Chrome").click()
    expect(dash.locator("[data-chip]")).to_have_count(2)
    dash.keyboard.press("L")
    expect(dash.locator("[data-chip]")).to_have_count(0)
    assert is_same_document(dash)


def test_the_list_of_keys(dash: Page, busy: BusyServer) -> None:
    dash.keyboard.press("?")
    expect(dash.get_by_role("dialog")).to_be_visible()
    dash.keyboard.press("w")
    assert dash.url == busy.url
    dash.keyboard.press("Escape")
    expect(dash.get_by_role("dialog")).to_be_hidden()
    dash.get_by_text("Add a note").click()
    dash.get_by_label("Note", exact=True).press_sequentially("wxl?")
    expect(dash.get_by_label("Note", exact=True)).to_have_value("wxl?")
    assert dash.url == busy.url, "letters that are typed are no keys"


def test_the_arrow_keys_go_along_the_chart(dash: Page) -> None:
    tip, chart = dash.locator(".tip"), dash.locator(".plot > svg")
    expect(tip).to_be_hidden()
    chart.focus()
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        dash.keyboard.press(key)
    expect(tip).to_contain_text(f"{TWO_DAYS_AGO:%a} {TWO_DAYS_AGO.day} {TWO_DAYS_AGO:%b}")
    expect(tip).to_contain_text(f"{len(PATHS)} visitors")
    dash.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    dash.keyboard.press("Home")
    expect(tip).to_contain_text("0 visitors")
    dash.keyboard.press("Tab")
    expect(tip).to_be_hidden()


def test_current_visitors_are_updated_as_they_arrive(dash: Page, page: Page, busy: BusyServer) -> None:
    active = dash.locator("[data-active]")
    before = int(active.inner_text())
    busy.add_visitor(1)
    expect(active).to_have_text(str(before + 1))
    choose(dash, "/pricing")
    busy.add_visitor(2)
    expect(active).to_have_text(str(before + 2))


def test_without_a_script(browser: Browser, busy: BusyServer) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = type_password(context.new_page(), busy.server)
        page.goto(busy.url)
        choose(page, "/pricing")
        page.locator("#panel-sources").get_by_role("link", name="Channels").click()
        expect(page.locator("#panel-sources [aria-current]")).to_have_text("Channels")
        page.locator("summary", has_text="Last 30 days").click()
        page.get_by_role("link", name="Last 7 days").click()
        assert pages(page) == ["/pricing"]
        page.locator("[data-chip]").click()
        page.get_by_text("Values as a table").click()
        expect(page.get_by_role("region", name="Values of the chart")).to_be_visible()
        page.get_by_role("link", name=re.compile("All 11 pages")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("All pages")


def test_the_public_link_works_in_place_too(page: Page, busy: BusyServer) -> None:
    problems = collect_browser_problems(page)
    page.goto(f"{busy.share}?embed=1")
    page.evaluate("window.sameDocument = true")
    choose(page, "/pricing")
    assert is_same_document(page)
    assert problems == []


@pytest.fixture
def blog(busy: BusyServer) -> Iterator[str]:
    """A page of others that shows the public link."""

    class Blog(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'<iframe src="{busy.share}?embed=1" width="900" height="1600"></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Blog) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_it_can_be_read_in_a_page_of_others(page: Page, blog: str) -> None:
    page.goto(blog)
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_have_text("my-site")
    frame.get_by_role("link", name=re.compile("All 11 pages")).click()
    expect(frame.get_by_role("heading", level=1)).to_have_text("All pages")


SUFFIXES = [
    *("", "?compare=previous&metric=bounce_rate", "?f=is,page,/pricing/**&f=is,name,x", "?period=day&f=is,page,/"),
    *("/top/page", "/top/source", "/settings/sharing"),
]


@pytest.fixture(scope="module")
def looked_at(browser: Browser, furnished_server: FurnishedServer) -> Iterator[Page]:
    """A browser that is logged in to the furnished server."""
    with browser.new_context() as context:
        yield log_in(context.new_page(), furnished_server.server)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("site", ["my-site", "empty"])
def test_nobody_is_kept_out(looked_at: Page, furnished_server: FurnishedServer, site: str, suffix: str) -> None:
    keeps_nobody_out(looked_at, furnished_server.url(f"/sites/{site}{suffix}"))


def test_nobody_is_kept_out_of_a_public_link(looked_at: Page, busy: BusyServer) -> None:
    keeps_nobody_out(looked_at, busy.share)


def keeps_nobody_out(page: Page, url: str) -> None:
    problems = collect_browser_problems(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto(url)
    page.evaluate("document.querySelectorAll('details:not(.menu)').forEach(one => one.open = true)")
    assert accessibility_violations(page, only_looks=True) == []
    page.set_viewport_size({"width": 320, "height": 900})
    page.emulate_media(color_scheme="dark")
    assert accessibility_violations(page) == []
    assert problems == []
    assert page.evaluate("typeof hacked") == "undefined"
