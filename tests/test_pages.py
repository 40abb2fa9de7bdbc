"""Every page in a real Chromium: accessible in light and dark, at 1280 and 320 px, and safe with hostile input."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.furnished import (
    HOSTILE,
    PAGES,
    SETTINGS_PATH,
    FurnishedServer,
    accessibility_violations,
    collect_browser_problems,
    type_password,
)
from tests.support.furnished import furnished_server as furnished_server


@pytest.fixture(scope="module")
def page(browser: Browser, furnished_server: FurnishedServer) -> Iterator[Page]:
    context = browser.new_context(color_scheme="light")
    yield type_password(context.new_page(), furnished_server.server)
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible(page: Page, furnished_server: FurnishedServer, path: str) -> None:
    problems = collect_browser_problems(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    response = page.goto(furnished_server.url(path))
    assert response is not None
    expected = 404 if "nowhere" in path else 200
    assert response.status == expected
    assert accessibility_violations(page, only_looks=True) == []
    page.set_viewport_size({"width": 320, "height": 600})
    page.emulate_media(color_scheme="dark")
    confirmations = page.locator("main .confirm summary")
    if confirmations.count():
        confirmations.last.press("Enter")
    assert accessibility_violations(page) == []
    assert page.evaluate("typeof hacked") == "undefined"
    assert [problem for problem in problems if "404" not in problem] == []


@pytest.mark.parametrize("path", ["/login", "/setup?token=guessed"])
def test_a_page_before_login_is_accessible(browser: Browser, furnished_server: FurnishedServer, path: str) -> None:
    with browser.new_context(viewport={"width": 320, "height": 600}) as context:
        page = context.new_page()
        page.goto(furnished_server.url(path))
        assert accessibility_violations(page) == []


def test_hostile_input_is_displayed_as_text(page: Page, furnished_server: FurnishedServer) -> None:
    for path in ("keys", "goals", "people", "people/PERSON", "deliveries/FAILED", "webhooks?tested=TEST"):
        page.goto(furnished_server.url(f"{SETTINGS_PATH}/{path}"))
        assert HOSTILE in page.inner_text("main"), path
