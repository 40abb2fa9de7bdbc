"""Triggers: what webhooks are told, when, and that it is told once."""

import json
import re
import sqlite3
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ovx_lite.domain.models import Client, Event, Goal, Kind, Origin, Page, Site, Webhook
from ovx_lite.services.group_commit import store as store_group
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.storage.write.unit_of_work import open_books
from ovx_lite.webhooks.message import FORMATS, LARGEST, body
from ovx_lite.webhooks.triggers import (
    Alert,
    Moment,
    Rearmed,
    Span,
    goal_completed,
    month_of,
    realtime_spike,
    usage_threshold,
)
from tests.conftest import Start, Store
from tests.support.goals import add_webhook, met, told
from tests.support.store import MINUTE, NOW, event, new_site, request
from tests.support.visitors import Place
from tests.support.visitors import conn as conn

_numbers = count()


def hook(id: str = "wh_1", above: int | None = None, events: str = "realtime.spike") -> Webhook:
    url = "https://example.com/"
    return Webhook(0, id, 1, url, tuple(events.split()), above, "json", "s", "", 0, True, "", None, 0, 0)


def moment(limit: int | None = None, **given: Any) -> Moment:
    site = Site(1, "my-site", "", "", "UTC", "pk", "jwt", limit, None, 0, b"")
    usual = Moment(site, [], [], "2025-11", Span(0, 1), None, [], NOW)
    return usual._replace(**given)


USED: list[tuple[int | None, int, list[int]]] = [
    *[(None, 10**9, []), (10, 7, []), (10, 8, [80]), (10, 9, [80]), (10, 10, [80, 100]), (10, 99, [80, 100])],
    *[(1, 0, []), (1, 1, [80, 100]), (3, 2, []), (3, 3, [80, 100]), (10**12, 8 * 10**11 - 1, [])],
]


@pytest.mark.parametrize(("limit", "used", "thresholds"), USED)
def test_usage_is_told_at_80_and_100_percent(limit: int | None, used: int, thresholds: list[int]) -> None:
    found = [one for one in usage_threshold(moment(limit=limit, used=Span(0, used))) if isinstance(one, Alert)]
    common: dict[str, Any] = {"usage": used, "limit": limit, "period": "2025-11"}
    assert [one.data for one in found] == [{"threshold": threshold} | common for threshold in thresholds]
    assert {(one.event, one.ts, one.to) for one in found} <= {("usage.threshold", NOW, "")}
    assert len({one.mark for one in found} - {""}) == len(found)


ACTIVE: list[tuple[tuple[int, int] | None, list[str]]] = [
    *[((9, 10), []), ((10, 11), ["alert"]), ((11, 11), ["alert"]), ((8, 11), ["alert"]), ((8, 8), []), (None, [])],
    *[((7, 11), ["rearm", "alert"]), ((7, 10), ["rearm"]), ((0, 0), ["rearm"])],
]


@pytest.mark.parametrize(("active", "found"), ACTIVE)
def test_a_spike_is_more_than_the_threshold_and_armed_again_under_80_percent(
    active: tuple[int, int] | None, found: list[str]
) -> None:
    hooks = [hook("wh_1", 10), hook("wh_2", None, "goal.completed"), hook("wh_3", 1000)]
    came = list(realtime_spike(moment(active=active and Span(*active), webhooks=hooks)))
    assert ["rearm" if isinstance(one, Rearmed) else "alert" for one in came if "wh_1" in one.mark] == found
    for alert in (one for one in came if isinstance(one, Alert)):
        assert (alert.event, alert.to, alert.ts) == ("realtime.spike", "wh_1", NOW)
        assert alert.data == {"active_visitors": 11, "threshold": 10}
    assert not any("wh_2" in one.mark for one in came)


def test_months_are_utcs() -> None:
    assert (month_of(1_764_547_199_999), month_of(1_764_547_200_000), month_of(0)) == ("2025-11", "2025-12", "1970-01")


NASTY = ["é" * 4096, "\x00" * 4096, "&" * 4096, "<!channel>" * 400, "\U0001f600" * 1024, '"\\' * 2048, "@`*" * 1300]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:4]))
def test_a_body_is_compact_json_under_10_kb(format: str, text: str) -> None:
    page, origin = Page("https", "example.com", "/" + text), Origin(text, text, "x", text, "", "", "", "")
    met = Event(NOW + 999, 20_000, Kind("ovyxa", "pageview", "pageview", ""), page, origin, Client("", "", "", "FR"))
    (alert,) = goal_completed(moment(met=[(Goal("g", 1, text[:100], "", "/**", 0), met)]))
    assert isinstance(alert, Alert)
    made = body(alert, "s" * 64, format)
    assert len(made) < LARGEST
    message = json.loads(made)
    assert message["timestamp"] == "2025-11-21T10:00:00Z"
    assert message["data"]["url"].startswith("/" + text[:10])
    assert json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() == made or "\0" in text
    extra = {"json": None, "slack": "text", "discord": "content"}[format]
    assert extra is None or 0 < len(message[extra]) <= (2000 if format == "discord" else 10_000)


PINGS = ["<!channel>", "@everyone", "<@U123>", "[x](y)", "<https://e.com|x>", "`x`", "**x**", "~~x~~", "||x||", "# x"]


@pytest.mark.parametrize(
    "ping", [*PINGS, "<#C1>", "@here", "https://e.com", "&lt;!channel&gt;", "\\@everyone", "<@&1>"]
)
def test_nobody_is_pinged_by_what_visitors_say(ping: str) -> None:
    alert = Alert("goal.completed", NOW, {"url": ping}, f"Goal on {ping}\n{ping}")
    slack, discord = (json.loads(body(alert, "my-site", format)) for format in ("slack", "discord"))
    assert not set("<>") & set(slack["text"])
    assert re.sub("&(amp|lt|gt);", "", slack["text"]).count("&") == 0
    unescaped = slack["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert unescaped == alert.text
    assert (slack["mrkdwn"], slack["link_names"]) == (False, False)
    assert discord["allowed_mentions"] == {"parse": []}
    assert not re.search(r"[@<>\[\]()`*_~|#:]", re.sub(r"\\[^a-zA-Z0-9]", "", discord["content"]))
    assert re.sub(r"\\([^a-zA-Z0-9])", r"\1", discord["content"]) == alert.text
    assert slack["data"] == discord["data"] == {"url": ping}


class Watched:
    """A site with webhooks, told of visitors at minutes after `NOW`; `again` is a restart."""

    def __init__(self, conn: sqlite3.Connection, *above: int) -> None:
        self.conn, self.site = conn, new_site(conn, f"site-{next(_numbers)}")
        self.came = 0
        self.again()
        for at in above:
            made = structs.replace(hook(f"wh_{self.site.id}_{at}", at), site=self.site.number)
            subscriptions.add_webhook(conn, made)

    def again(self) -> None:
        self.books = open_books(self.conn, next(_numbers) * 100)

    def see(self, minute: float, *visitors: int, ago: float = 0) -> list[tuple[int, int]]:
        """Which spikes (visitors, threshold) are told when visitors come at a minute, with events of `ago` before."""
        now = round(NOW + minute * MINUTE)
        sent = [event(ts=round(now - ago * MINUTE), visitor=visitor) for visitor in visitors]
        store_group(self.conn, self.books, [request(self.site, *sent)], {}, now)
        came = [json.loads(one.body)["data"] for one in delivery_log.of_site(self.conn, self.site.number)]
        new, self.came = len(came) - self.came, len(came)
        return [(one["active_visitors"], one["threshold"]) for one in came[:new]]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_spike_is_told_when_it_begins_and_armed_again_when_it_is_over(
    conn: sqlite3.Connection, restarts: bool
) -> None:
    site = Watched(conn, 5)
    rows: list[tuple[float, tuple[int, ...], list[tuple[int, int]]]] = [
        *[(0, (1, 2, 3, 4), []), (0.1, (5, 5, 5, 1), []), (1, (6,), [(6, 5)])],
        *[(1.1, (7, 8), []), (5.05, (9,), [])],
        (5.2, (10,), []),  # 6, 7, 8, 9 before it: not under 4
        *[(6, (11,), []), (6.05, (12,), [])],  # still the same spike
        (10.3, (13,), []),  # 11, 12 before it: armed again
        *[(10.4, (14, 15), []), (10.5, (16,), [(6, 5)]), (30, (*range(20, 30),), [(10, 5)]), (30.1, (40,), [])],
    ]
    for minute, visitors, expected in rows:
        if restarts:
            site.again()
        assert site.see(minute, *visitors) == expected, minute


def test_every_webhook_has_its_own_spikes(conn: sqlite3.Connection) -> None:
    site = Watched(conn, 1, 3)
    assert [site.see(n / 10, n) for n in range(1, 6)] == [[], [(2, 1)], [], [(4, 3)], []]


LATE: list[tuple[str, list[tuple[float, int, float]], list[int]]] = [
    ("long ago", [(0, 1, 5.1), (0, 2, 6), (0, 3, 5.1), (1, 1, 0), (1, 2, 4.9), (1, 3, 4.9)], [0, 0, 0, 0, 0, 3]),
    ("heard of late, seen since", [(0, 1, 0), (0.1, 1, 4.5), (1, 2, 0), (1.1, 3, 0)], [0, 0, 0, 3]),
    ("heard of late, gone since", [(0, 1, 0), (0, 2, 4.9), (2, 3, 0)], [0, 0, 0]),
    ("a clock ahead", [(0, 1, -60), (0, 2, -60), (10, 3, 0)], [0, 0, 0]),
]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("what", "came", "active"), LATE, ids=[what for what, *_ in LATE])
def test_the_times_that_callers_tell_make_no_spike_and_hide_none(
    conn: sqlite3.Connection, what: str, came: list[tuple[float, int, float]], active: list[int], restarts: bool
) -> None:
    site = Watched(conn, 2)
    for (minute, visitor, ago), expected in zip(came, active, strict=True):
        if restarts:
            site.again()
        assert site.see(minute, visitor, ago=ago) == ([(expected, 2)] if expected else []), minute


@pytest.fixture
def place(tmp_path: Path, start: Start) -> Place:
    store = Store(tmp_path / "data")
    store.site("first")
    return Place(store, start(store), "--monthly-limit", "10")


def custom(place: Place, *names: str, **fields: object) -> None:
    sent = [{"type": "custom", "event_name": name, "url": "https://example.com/a"} | fields for name in names]
    batch = {"site_id": place.id, "events": sent}
    assert place.server.send("/api/v1/events/batch", batch, place.key).status == 201


def test_usage_is_told_once_a_month_and_threshold(place: Place, start: Start) -> None:
    add_webhook(place.store, place.id, "--on", "usage.threshold")
    months = {datetime.now(UTC).strftime("%Y-%m")}
    custom(place, *"1234567")
    assert told(place.store, place.id) == []
    custom(place, *"89abcdefgh")
    found = told(place.store, place.id)
    months.add(datetime.now(UTC).strftime("%Y-%m"))
    assert {message["data"].pop("period") for message in found} <= months
    assert [message["data"] for message in found] == [{"threshold": n, "usage": 17, "limit": 10} for n in (80, 100)]
    assert {(message["event"], message["site_id"]) for message in found} == {("usage.threshold", place.id)}
    custom(place, "over the limit")
    place.server.stop()
    place.server = start(place.store)
    custom(place, "after a restart")
    place.store.run("site", "change", place.id, "--monthly-limit", "30")
    custom(place, *"0123456789abcdef")
    assert len(told(place.store, place.id)) == 2
    assert len(place.store.events(place.id)) == 35


def test_a_flood_of_goals_holds_back_nothing_that_is_told_once(place: Place) -> None:
    add_webhook(place.store, place.id, "--on", "goal.completed", "--on", "usage.threshold")
    place.store.call("goal", "add", place.id, "Purchase", "--event", "buy")
    custom(place, *["buy"] * 150)
    listed = [(one["event"], one["status"]) for one in place.store.call("delivery", "list", place.id)]
    assert ("goal.completed", "throttled") in listed
    assert [status == "throttled" for event, status in listed if event == "usage.threshold"] == [False, False]


def test_a_goal_is_told_with_what_the_contract_says(place: Place) -> None:
    add_webhook(place.store, place.id, "--on", "goal.completed", "--on", "usage.threshold")
    place.store.call("goal", "add", place.id, "Purchase", "--event", "buy")
    custom(place, "buy", timestamp="2025-03-15T15:32:18.987+01:00", referrer="https://www.google.com/")
    (message,) = told(place.store, place.id)
    data = {"goal_name": "Purchase", "visitor_count": 1, "url": "/a", "source": "google", "country": ""}
    common = {"event": "goal.completed", "timestamp": "2025-03-15T14:32:18Z", "site_id": place.id}
    assert message == common | {"data": data | {"country": message["data"]["country"]}}
    assert list(message) == ["event", "timestamp", "site_id", "data"]


def test_above_100_in_an_hour_deliveries_are_logged_and_not_sent(place: Place) -> None:
    add_webhook(place.store, place.id, "--on", "goal.completed")
    place.store.call("goal", "add", place.id, "Buy", "--event", "buy")
    for number in (60, 60, 3):
        custom(place, *["buy"] * number)
    log = place.store.call("delivery", "list", place.id)
    throttled = [one["status"] == "throttled" for one in reversed(log)]
    assert throttled == [False] * 100 + [True] * 23
    assert log[0]["tries"] == 0
    assert len(met(place.store, place.id)) == 123
