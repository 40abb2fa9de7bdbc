"""`/live`: the emulator's live page, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.emulator import EmulatorProcess, run_emulator

CUSTOM = "/api/v1/events/custom"
EVENT = {"site_id": "site_abc123", "url": "https://example.com/<b>", "event_name": "signup"}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("live")) as emulator:
        yield emulator


def test_requests_are_shown_as_they_arrive(dev: EmulatorProcess, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    dev.call("POST", "/_dev/reset")
    page.goto(f"{dev.url}/live")
    expect(page.locator("[data-empty]")).to_be_visible()
    dev.send(CUSTOM, EVENT)
    dev.send(CUSTOM, {"site_id": "site_abc123", "event_nme": "x", "url": "nope"})
    entries = page.locator(".entries > li")
    expect(entries).to_have_count(2)
    bad, good = entries.nth(0), entries.nth(1)
    expect(bad).to_contain_text("Missing required field: event_name")
    expect(bad).to_contain_text("did you mean `event_name`?")
    good.locator("summary").click()
    expect(good.locator(".raw")).to_have_text(json.dumps(EVENT))
    expect(good).to_contain_text('"path": "/<b>"')
    page.locator("[data-status]").select_option("bad")
    expect(good).to_be_hidden()
    page.locator("[data-status]").select_option("")
    page.locator("[data-filter]").fill("signup")
    expect(bad).to_be_hidden()
    page.locator("[data-filter]").fill("")
    page.get_by_role("button", name="Pause").click()
    good.get_by_role("button", name="Send again").click()
    dev.call("GET", "/_dev/events/wait?count=2&name=signup&timeout=5")
    expect(entries).to_have_count(2)
    page.get_by_role("button", name="Resume").click()
    expect(entries).to_have_count(3)
    dev.call("POST", "/_dev/reset")
    expect(entries).to_have_count(0)
    assert errors == []


def test_the_forwarded_response_is_shown_when_it_arrives(dev: EmulatorProcess, page: Page, tmp_path: Path) -> None:
    dev.call("POST", "/_dev/reset")
    with run_emulator(tmp_path, "--forward", dev.url) as forwarding:
        page.goto(f"{forwarding.url}/live")
        forwarding.send(CUSTOM, EVENT | {"site_id": "mine"})
        entry = page.locator(".entries > li")
        expect(entry).to_contain_text(f"{dev.url} answered 404, but the emulator answered 201.")
        entry.locator("summary").click()
        expect(entry).to_contain_text(f"Response of {dev.url}")
        expect(entry).to_contain_text('"code": "invalid_site_id"')
        page.locator("[data-filter]").fill("but the emulator")
        expect(entry).to_be_visible()
