"""The first steps in a real Chromium without the manual: from the printed link to the cause of a failed delivery."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import CHROME, Server, Start, Store
from tests.support.browserless import PASSWORD
from tests.support.furnished import collect_browser_problems
from tests.support.receiver import Receiver, http_response


@pytest.fixture
def failing_receiver() -> Iterator[Receiver]:
    with Receiver(http_response(500, b"out of order")) as receiver:
        yield receiver


@pytest.fixture
def server(store: Store, start: Start) -> Server:
    return start(store, "--webhook-allow-net", "127.0.0.0/8")


def setup_url(server: Server) -> str:
    """Return the setup link that the server has printed."""
    match = re.search(r"http\S+/setup\?token=\S+", server.log_path.read_text())
    assert match
    return match[0]


def send_pageview(server: Server, key: str, path: str) -> None:
    """Send a pageview."""
    fields = {"site_id": "example.com", "url": f"https://example.com{path}", "user_agent": CHROME}
    assert server.send("/api/v1/events/pageview", fields, key).status == 201


def walk(page: Page, server: Server, failing_receiver: Receiver, press: Callable[[Any], None]) -> None:
    """Set up a site, a key, a goal and a webhook, and look up why a delivery failed. `press` activates an element."""
    page.goto(setup_url(server))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Domain").fill("example.com")
    press(page.get_by_role("button", name="Set up ovx-lite"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Get started")
    assert "token" not in page.url
    key = page.get_by_label("The key", exact=True).inner_text()
    assert f"Bearer {key}" in page.content()

    press(page.get_by_role("link", name="Goals"))
    page.get_by_label("Name", exact=True).fill("Pricing")
    page.get_by_label("Path", exact=True).fill("pricing")
    press(page.get_by_role("button", name="Add goal"))
    expect(page.get_by_label("Path", exact=True)).to_have_accessible_description(re.compile("start it with a slash"))
    expect(page.get_by_label("Name", exact=True)).to_have_value("Pricing")
    page.get_by_label("Path", exact=True).fill("/pricing/**")
    press(page.get_by_role("button", name="Add goal"))
    expect(page.get_by_role("status").first).to_have_text("The goal Pricing was added.")
    page.get_by_label("Test a path").fill("/pricing/team")
    press(page.get_by_role("button", name="Test"))
    expect(page.get_by_text("/pricing/team matches 1 goal.")).to_be_visible()

    press(page.get_by_role("link", name="Webhooks"))
    page.get_by_label("URL").fill("http://10.0.0.1/")
    press(page.get_by_role("button", name="Add webhook"))
    expect(page.get_by_label("URL")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("URL").fill(failing_receiver.url)
    press(page.get_by_role("button", name="Add webhook"))
    expect(page.get_by_label("The signing secret")).to_contain_text("whsec_")
    press(page.get_by_role("button", name="Send test"))
    expect(page.get_by_text("Response: 500")).to_be_visible()
    expect(page.get_by_label("The response")).to_have_text("out of order")

    send_pageview(server, key, "/pricing/team")
    press(page.get_by_role("link", name="Delivery log"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Delivery log")
    assert page.get_by_label("The signing secret").count() == 0
    page.get_by_label("Status").select_option("pending")
    press(page.get_by_role("button", name="Filter"))
    expect(page.get_by_role("row")).to_have_count(2)
    press(page.get_by_role("link", name="goal.completed"))
    expect(page.get_by_text("Next attempt")).to_be_visible()
    expect(page.get_by_text("The receiver answered 500")).to_be_visible()
    press(page.get_by_role("button", name="Resend"))
    expect(page.get_by_text("The delivery was queued again.")).to_be_visible()


def click(element: Any) -> None:
    element.click()


def test_the_first_steps_work_without_the_manual(page: Page, server: Server, failing_receiver: Receiver) -> None:
    problems = collect_browser_problems(page)
    walk(page, server, failing_receiver, click)
    assert [problem for problem in problems if "400" not in problem] == []


def test_the_first_steps_work_without_javascript(browser: Browser, server: Server, failing_receiver: Receiver) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        walk(context.new_page(), server, failing_receiver, click)


def test_the_first_steps_work_by_keyboard_alone(page: Page, server: Server, failing_receiver: Receiver) -> None:
    def press_by_keyboard(element: Any) -> None:
        for _ in range(60):  # no page has more focusable elements
            # Both in one call: the page may change between two calls.
            outline = element.first.evaluate(
                "node => node === document.activeElement && getComputedStyle(node).outlineStyle"
            )
            if outline:
                break
            page.keyboard.press("Tab")
        else:
            pytest.fail(f"{element} cannot be reached by Tab")
        assert outline == "solid", "the focus is visible"
        page.keyboard.press("Enter")

    walk(page, server, failing_receiver, press_by_keyboard)


def set_up(page: Page, server: Server) -> str:
    """Set up a site, and return its key."""
    page.goto(setup_url(server))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Domain").fill("example.com")
    page.get_by_role("button", name="Set up ovx-lite").click()
    return page.get_by_label("The key", exact=True).inner_text()


def test_the_first_event_updates_the_status_line(page: Page, server: Server) -> None:
    key = set_up(page, server)
    line = page.locator(".arrival-status")
    expect(line).to_have_text("Waiting for the first event…")
    page.evaluate("marker = 1")
    send_pageview(server, key, "/<script>alert(1)</script>")
    expect(line).to_have_text("The first event has arrived: pageview on example.com/<script>alert(1)</script>")
    assert line.evaluate("line => line.classList.contains('on')")
    assert page.evaluate("marker") == 1, "the page must not be reloaded"


def test_a_double_click_adds_one_key(page: Page, server: Server, store: Store) -> None:
    set_up(page, server)
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Label").fill("Twice")
    page.get_by_role("button", name="Add key").dblclick()
    expect(page.get_by_role("heading", name="Twice")).to_have_count(1)
    assert [key["label"] for key in store.call("key", "list", "example.com")] == ["First key", "Twice"]


def test_going_back_after_a_delete_displays_not_found(page: Page, server: Server) -> None:
    set_up(page, server)
    page.get_by_role("link", name="General").click()
    page.get_by_label("Type example.com").fill("example.com")
    page.get_by_role("button", name="Delete site").click()
    expect(page.get_by_role("status")).to_have_text("The site example.com was deleted with 0 events.")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


def test_two_tabs_handle_a_revoked_key_and_an_ended_session(page: Page, server: Server) -> None:
    set_up(page, server)
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"{server.url}/sites/example.com/settings/keys")
        tab.get_by_text("Revoke", exact=True).click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("was revoked")).to_be_visible()
    other.get_by_role("button", name="Revoke key").click()
    expect(other.get_by_text("was revoked")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    other.get_by_role("button", name="Rotate secret").or_(other.get_by_text("Rotate JWT secret")).first.click()
    other.get_by_role("button", name="Rotate secret").click()
    expect(other.get_by_role("alert")).to_contain_text("Your session has ended.")


def test_a_new_key_is_visible_until_the_page_is_left(page: Page, server: Server) -> None:
    set_up(page, server)
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Label").fill("One")
    page.get_by_role("button", name="Add key").click()
    key = page.get_by_label("The key", exact=True)
    key_text = key.inner_text()
    page.get_by_label("Label").fill("half a wo")
    page.get_by_text("Rotate JWT secret").click()
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.get_by_label("The JWT secret")).to_be_visible()
    expect(key).to_have_text(key_text)
    expect(page.get_by_label("Label")).to_have_value("half a wo")
    page.get_by_role("link", name="Skip to content").press("Enter")
    expect(key).to_have_text(key_text)
    expect(page.locator("main")).to_be_focused()
    page.go_back()
    page.reload()
    expect(key).to_have_count(0)


def test_typed_values_survive_a_proxy_error(page: Page, server: Server) -> None:
    set_up(page, server)
    page.get_by_role("link", name="Goals").click()
    page.get_by_label("Name", exact=True).fill("Pricing")
    page.get_by_label("Event with this name").check()
    page.get_by_label("Event name").fill("signup")
    page.route("**/goals", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway"))
    page.get_by_role("button", name="Add goal").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    expect(page.get_by_label("Event name")).to_have_value("signup")
    page.unroute_all()
    page.get_by_role("button", name="Add goal").click()
    expect(page.get_by_role("status").first).to_have_text("The goal Pricing was added.")


def test_a_resent_delivery_is_refreshed_until_it_is_delivered(
    page: Page, server: Server, failing_receiver: Receiver
) -> None:
    set_up(page, server)
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("URL").fill(failing_receiver.url)
    page.get_by_role("button", name="Add webhook").click()
    page.get_by_role("button", name="Send test").click()
    page.get_by_role("link", name="Show delivery").click()
    failing_receiver.reply = http_response(200)
    page.get_by_role("button", name="Resend").click()
    expect(page.locator("main .status").first).to_have_text("delivered")


def test_typed_values_survive_a_stopped_server(page: Page, server: Server) -> None:
    set_up(page, server)
    page.get_by_role("link", name="Goals").click()
    page.get_by_label("Name", exact=True).fill("Pricing")
    page.get_by_label("Path", exact=True).fill("/pricing")
    server.stop()
    page.get_by_role("button", name="Add goal").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    expect(page.get_by_label("Path", exact=True)).to_have_value("/pricing")
