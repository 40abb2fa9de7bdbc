"""What a person sees, in a real Chromium."""

import os
import shutil
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import Running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    if CHROMIUM is None:
        if os.environ.get("OVX_BROWSER_TESTS") == "required":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    return {"executable_path": CHROMIUM, "args": quiet}


def test_home_shows_how_the_first_event_gets_in(page: Page, running: Running) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.on("response", lambda response: problems.append(response.url) if response.status >= 400 else None)
    page.goto(running.server.url)
    assert page.get_by_role("heading").inner_text() == "ovx-lite is running"
    assert f"curl {running.server.url}/api/v1/events/pageview" in page.content()
    assert f'<script defer src="{running.server.url}/js/ovx.js"' in page.inner_text("main")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "704px", "the style is there"
    assert problems == []


def test_home_fits_a_small_telephone(page: Page, running: Running) -> None:
    page.set_viewport_size({"width": 320, "height": 600})
    page.goto(running.server.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
