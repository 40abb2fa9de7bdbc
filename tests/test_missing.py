"""Why is my event missing? What was refused or excluded, and why, in the settings of the site that it was for."""

import pytest

from tests.conftest import CHROME
from tests.support.pages import Office, read
from tests.support.pages import office as office

BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


def rows(office: Office, settings: str) -> list[str]:
    table = read(office.person.get(f"{settings}/missing")).all("tbody")
    return [row.text for row in table[0].all("tr")] if table else []


def test_what_was_refused_or_excluded_is_told_with_all_reasons(office: Office) -> None:
    settings, key = office.site(id="told")
    where = {"site_id": "told", "url": "https://example.com/", "ip_address": "203.0.113.77"}
    custom = "/api/v1/events/custom"
    assert office.server.send(custom, where | {"event_nme": "x", "url": "nope"}, key).status == 400
    assert office.server.pageview(key, **where, user_agent=BOT).status == 201
    assert office.server.send(custom, where | {"event_name": "x"}, "ovx_wrong").status == 401
    assert office.server.send(custom, {"site_id": "told"}, "ovx_wrong").status == 401
    assert office.server.pageview(key, **where, user_agent=CHROME).status == 201
    both_wrong, wrong_key, bot, faulty = rows(office, settings)
    assert "The API key is unknown" in wrong_key
    assert "The API key is unknown" in both_wrong
    assert "Missing required field: event_name" in both_wrong
    assert "in no count: its user agent is a bot's" in bot
    for words in ("Missing required field: event_name", "url is not an absolute URL", "did you mean `event_name`?"):
        assert words in faulty
    page = office.person.get(f"{settings}/missing").body.decode()
    assert [secret for secret in ("203.0.113.77", key, "ovx_wrong") if secret in page] == []


def test_of_a_site_alone_and_no_more_than_the_latest(office: Office) -> None:
    (settings, key), (other, _) = office.site(id="busy"), office.site(id="calm")
    for _ in range(510):
        office.server.custom(key, site_id="busy", url="nope")
    assert (len(rows(office, settings)), rows(office, other)) == (500, [])


@pytest.mark.parametrize("body", [b"{", b"[" * 30, b'"\xff"', b"x" * 70_000])
def test_what_nobody_can_read_is_of_no_site_or_told(office: Office, body: bytes) -> None:
    settings, key = office.site()
    assert office.server.send("/api/v1/events/custom", body, key).status in (400, 413)
    assert office.person.get(f"{settings}/missing").status == 200
