"""Every page in a real Chromium: light and dark, wide and at 320 px, for everybody, and whatever visitors have sent."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.furnished import HOSTILE, PAGES, SITE, House, barriers, problems_of, type_password
from tests.support.furnished import house as house


@pytest.fixture(scope="module")
def page(browser: Browser, house: House) -> Iterator[Page]:
    context = browser.new_context(color_scheme="light")
    yield type_password(context.new_page(), house.server)
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_everybody(page: Page, house: House, path: str) -> None:
    problems = problems_of(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    answer = page.goto(house.url(path))
    assert answer is not None
    expected = 404 if "nowhere" in path else 200
    assert answer.status == expected
    assert barriers(page, only_looks=True) == []
    page.set_viewport_size({"width": 320, "height": 600})
    page.emulate_media(color_scheme="dark")
    questions = page.locator("main .confirm summary")
    if questions.count():
        questions.last.press("Enter")
    assert barriers(page) == []
    assert page.evaluate("typeof hacked") == "undefined"
    assert [problem for problem in problems if "404" not in problem] == []


@pytest.mark.parametrize("path", ["/login", "/setup?token=guessed"])
def test_a_page_before_the_log_in_is_for_everybody(browser: Browser, house: House, path: str) -> None:
    with browser.new_context(viewport={"width": 320, "height": 600}) as context:
        page = context.new_page()
        page.goto(house.url(path))
        assert barriers(page) == []


def test_hostile_words_are_there_to_be_read(page: Page, house: House) -> None:
    for path in ("keys", "goals", "people", "people/PERSON", "deliveries/FAILED", "webhooks?tested=TEST"):
        page.goto(house.url(f"{SITE}/{path}"))
        assert HOSTILE in page.inner_text("main"), path
