"""Settings → Missing events: events that were rejected or excluded, with the reasons."""

import pytest

from tests.conftest import CHROME
from tests.support.pages import AdminSession, parse_page
from tests.support.pages import admin as admin

BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


def rows(admin: AdminSession, settings: str) -> list[str]:
    table = parse_page(admin.client.get(f"{settings}/missing")).find_all("tbody")
    return [row.text for row in table[0].find_all("tr")] if table else []


def test_rejected_and_excluded_events_are_listed_with_all_reasons(admin: AdminSession) -> None:
    settings, key = admin.add_site(id="reported")
    event_fields = {"site_id": "reported", "url": "https://example.com/", "ip_address": "203.0.113.77"}
    custom = "/api/v1/events/custom"
    assert admin.server.send(custom, event_fields | {"event_nme": "x", "url": "nope"}, key).status == 400
    assert admin.server.pageview(key, **event_fields, user_agent=BOT).status == 201
    assert admin.server.send(custom, event_fields | {"event_name": "x"}, "ovx_wrong").status == 401
    assert admin.server.send(custom, {"site_id": "reported"}, "ovx_wrong").status == 401
    assert admin.server.pageview(key, **event_fields, user_agent=CHROME).status == 201
    two_errors, unknown_key, bot, invalid_event = rows(admin, settings)
    assert "The API key is unknown" in unknown_key
    assert "The API key is unknown" in two_errors
    assert "Missing required field: event_name" in two_errors
    assert "not counted: its user agent belongs to a bot" in bot
    for message in ("Missing required field: event_name", "url is not an absolute URL", "did you mean `event_name`?"):
        assert message in invalid_event
    page = admin.client.get(f"{settings}/missing").body.decode()
    assert [secret for secret in ("203.0.113.77", key, "ovx_wrong") if secret in page] == []


def test_the_list_holds_the_latest_500_events_of_one_site(admin: AdminSession) -> None:
    (settings, key), (other, _) = admin.add_site(id="busy"), admin.add_site(id="calm")
    for _ in range(510):
        admin.server.custom(key, site_id="busy", url="nope")
    assert (len(rows(admin, settings)), rows(admin, other)) == (500, [])


@pytest.mark.parametrize("body", [b"{", b"[" * 30, b'"\xff"', b"x" * 70_000])
def test_an_unreadable_body_does_not_break_the_page(admin: AdminSession, body: bytes) -> None:
    settings, key = admin.add_site()
    assert admin.server.send("/api/v1/events/custom", body, key).status in (400, 413)
    assert admin.client.get(f"{settings}/missing").status == 200
