"""Form errors in Chromium: each is shown beside its field, which keeps the typed text and has the focus."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.furnished import SETTINGS_PATH, FurnishedServer, accessibility_violations, log_in
from tests.support.furnished import furnished_server as furnished_server


@pytest.fixture(scope="module")
def page(browser: Browser, furnished_server: FurnishedServer) -> Iterator[Page]:
    context = browser.new_context()
    yield log_in(context.new_page(), furnished_server.server)
    context.close()


GENERAL, KEYS, GOALS, WEBHOOKS = (f"{SETTINGS_PATH}/{name}" for name in ("general", "keys", "goals", "webhooks"))
ERRORS: list[tuple[str, dict[str, str], str, str]] = [
    ("/new-site", {"Domain": "a b"}, "Add site", "Domain"),
    ("/new-site", {"Site ID": "a/b"}, "Add site", "Site ID"),
    ("/new-site", {"Site ID": "my-site"}, "Add site", "Site ID"),
    ("/account", {"Current password": "not this one", "New password": "x" * 10}, "Change password", "Current p"),
    (GENERAL, {"Domain": "a!"}, "Save", "Domain"),
    (GENERAL, {"Monthly event": "many"}, "Save", "Monthly event"),
    (GENERAL, {"Data retention": "0"}, "Save", "Data retention"),
    (GENERAL, {"Allowed hosts": "a b!"}, "Save", "Allowed hosts"),
    (GENERAL, {"Requests per hour": "-1"}, "Save", "Requests per hour"),
    (GENERAL, {"Type my-site": "my site"}, "Delete site", "Type my-site"),
    (KEYS, {"Custom limit": "1.5"}, "Add key", "Custom limit"),
    (GOALS, {"Name$": "New", "Path": "pricing"}, "Add goal", "Path"),
    (GOALS, {"Name$": "Sign-up", "Path": "/a"}, "Add goal", "Name$"),
    (WEBHOOKS, {"Destination URL": "https://10.0.0.1/"}, "Add webhook", "Destination URL"),
    (WEBHOOKS, {"Destination URL": "ftp://example.com/"}, "Add webhook", "Destination URL"),
]


@pytest.mark.parametrize(("path", "typed", "button", "field_label"), ERRORS)
def test_an_error_is_shown_beside_its_field(
    page: Page, furnished_server: FurnishedServer, path: str, typed: dict[str, str], button: str, field_label: str
) -> None:
    page.goto(furnished_server.url(path))
    for label, text in typed.items():
        field(page, label).fill(text)
    page.get_by_role("button", name=button).click()
    invalid_field = field(page, field_label)
    expect(invalid_field).to_be_focused()
    expect(invalid_field).to_have_attribute("aria-invalid", "true")
    expect(invalid_field).to_have_accessible_description(re.compile(r"\w{3}.*\."))
    for label, text in typed.items():
        if "password" not in label:
            expect(field(page, label)).to_have_value(text)


def field(page: Page, label: str) -> Locator:
    """Return a field of the form that adds something, by the start of its label."""
    return page.get_by_label(re.compile(f"^{label}")).last


def test_a_webhook_without_events_is_refused(page: Page, furnished_server: FurnishedServer) -> None:
    page.goto(furnished_server.url(WEBHOOKS))
    page.get_by_label("URL").fill("http://127.0.0.1:9/")
    page.get_by_label("goal.completed").last.uncheck()
    page.get_by_role("button", name="Add webhook").click()
    group = page.get_by_role("group", name="Events to send").last
    expect(group).to_have_accessible_description("Select at least one event.")
    assert accessibility_violations(page) == []
