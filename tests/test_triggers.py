"""Triggers: which alerts webhooks receive, when, and that each one is sent once."""

import json
import re
import sqlite3
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ovx_lite.domain.calendar import MINUTE_MS
from ovx_lite.domain.models import ClientInfo, Event, EventType, Goal, PageUrl, Site, TrafficSource, Webhook
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.webhooks.message import FORMATS, MAX_BODY_BYTES, build_body
from ovx_lite.webhooks.triggers import (
    Alert,
    Change,
    ResetAlert,
    TriggerContext,
    goal_completed,
    month_of,
    realtime_spike,
    usage_threshold,
)
from tests.conftest import Start, Store
from tests.support.goals import add_webhook, met_goals, sent_messages
from tests.support.store import NOW, new_event, new_site, open_writer, request, store_group
from tests.support.visitors import Place
from tests.support.visitors import conn as conn

_numbers = count()


def new_webhook(public_id: str = "wh_1", spike_threshold: int | None = None, events: str = "realtime.spike") -> Webhook:
    url = "https://example.com/"
    return Webhook(
        0, public_id, 1, url, tuple(events.split()), spike_threshold, "json", "s", "", 0, True, "", None, 0, 0
    )


def trigger_context(limit: int | None = None, **changes: Any) -> TriggerContext:
    site = Site(1, "my-site", "", "", "UTC", "pk", "jwt", limit, None, 0, b"")
    default = TriggerContext(site, [], [], "2025-11", Change(0, 1), None, [], NOW)
    return default._replace(**changes)


USAGE_CASES: list[tuple[int | None, int, list[int]]] = [
    *[(None, 10**9, []), (10, 7, []), (10, 8, [80]), (10, 9, [80]), (10, 10, [80, 100]), (10, 99, [80, 100])],
    *[(1, 0, []), (1, 1, [80, 100]), (3, 2, []), (3, 3, [80, 100]), (10**12, 8 * 10**11 - 1, [])],
]


@pytest.mark.parametrize(("limit", "used", "thresholds"), USAGE_CASES)
def test_usage_alerts_at_80_and_100_percent(limit: int | None, used: int, thresholds: list[int]) -> None:
    alerts = [
        alert
        for alert in usage_threshold(trigger_context(limit=limit, monthly_usage=Change(0, used)))
        if isinstance(alert, Alert)
    ]
    common: dict[str, Any] = {"usage": used, "limit": limit, "period": "2025-11"}
    assert [alert.data for alert in alerts] == [{"threshold": threshold} | common for threshold in thresholds]
    assert {(alert.event, alert.timestamp_ms, alert.webhook_public_id) for alert in alerts} <= {
        ("usage.threshold", NOW, "")
    }
    assert len({alert.dedupe_key for alert in alerts} - {""}) == len(alerts)


ACTIVE_VISITOR_CASES: list[tuple[tuple[int, int] | None, list[str]]] = [
    *[((9, 10), []), ((10, 11), ["alert"]), ((11, 11), ["alert"]), ((8, 11), ["alert"]), ((8, 8), []), (None, [])],
    *[((7, 11), ["reset", "alert"]), ((7, 10), ["reset"]), ((0, 0), ["reset"])],
]


@pytest.mark.parametrize(("active", "expected"), ACTIVE_VISITOR_CASES)
def test_a_spike_alerts_above_the_threshold_and_rearms_below_80_percent(
    active: tuple[int, int] | None, expected: list[str]
) -> None:
    webhooks = [new_webhook("wh_1", 10), new_webhook("wh_2", None, "goal.completed"), new_webhook("wh_3", 1000)]
    results = list(realtime_spike(trigger_context(active_visitors=active and Change(*active), webhooks=webhooks)))
    assert [
        "reset" if isinstance(result, ResetAlert) else "alert" for result in results if "wh_1" in result.dedupe_key
    ] == expected
    for alert in (result for result in results if isinstance(result, Alert)):
        assert (alert.event, alert.webhook_public_id, alert.timestamp_ms) == ("realtime.spike", "wh_1", NOW)
        assert alert.data == {"active_visitors": 11, "threshold": 10}
    assert not any("wh_2" in result.dedupe_key for result in results)


def test_months_are_in_utc() -> None:
    assert (month_of(1_764_547_199_999), month_of(1_764_547_200_000), month_of(0)) == ("2025-11", "2025-12", "1970-01")


HOSTILE_TEXTS = [
    "é" * 4096,
    "\x00" * 4096,
    "&" * 4096,
    "<!channel>" * 400,
    "\U0001f600" * 1024,
    '"\\' * 2048,
    "@`*" * 1300,
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: ascii(text[:4]))
def test_a_body_is_compact_json_under_10_kb(format: str, text: str) -> None:
    page, traffic_source = (
        PageUrl("https", "example.com", "/" + text),
        TrafficSource(text, text, "x", text, "", "", "", ""),
    )
    event = Event(
        NOW + 999,
        20_000,
        EventType("ovyxa", "pageview", "pageview", ""),
        page,
        traffic_source,
        ClientInfo("", "", "", "FR"),
    )
    (alert,) = goal_completed(trigger_context(matched_goals=[(Goal("g", 1, text[:100], "", "/**", 0), event)]))
    assert isinstance(alert, Alert)
    encoded = build_body(alert, "s" * 64, format)
    assert len(encoded) < MAX_BODY_BYTES
    message = json.loads(encoded)
    assert message["timestamp"] == "2025-11-21T10:00:00Z"
    assert message["data"]["url"].startswith("/" + text[:10])
    assert json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() == encoded or "\0" in text
    text_key = {"json": None, "slack": "text", "discord": "content"}[format]
    assert text_key is None or 0 < len(message[text_key]) <= (2000 if format == "discord" else 10_000)


PINGS = ["<!channel>", "@everyone", "<@U123>", "[x](y)", "<https://e.com|x>", "`x`", "**x**", "~~x~~", "||x||", "# x"]


@pytest.mark.parametrize(
    "ping", [*PINGS, "<#C1>", "@here", "https://e.com", "&lt;!channel&gt;", "\\@everyone", "<@&1>"]
)
def test_text_from_visitors_pings_nobody(ping: str) -> None:
    alert = Alert("goal.completed", NOW, {"url": ping}, f"Goal on {ping}\n{ping}")
    slack, discord = (json.loads(build_body(alert, "my-site", format)) for format in ("slack", "discord"))
    assert not set("<>") & set(slack["text"])
    assert re.sub("&(amp|lt|gt);", "", slack["text"]).count("&") == 0
    unescaped = slack["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert unescaped == alert.text
    assert (slack["mrkdwn"], slack["link_names"]) == (False, False)
    assert discord["allowed_mentions"] == {"parse": []}
    assert not re.search(r"[@<>\[\]()`*_~|#:]", re.sub(r"\\[^a-zA-Z0-9]", "", discord["content"]))
    assert re.sub(r"\\([^a-zA-Z0-9])", r"\1", discord["content"]) == alert.text
    assert slack["data"] == discord["data"] == {"url": ping}


class WatchedSite:
    """A site with webhooks that receives events of visitors at minutes after `NOW`."""

    def __init__(self, conn: sqlite3.Connection, *spike_thresholds: int) -> None:
        self.conn, self.site = conn, new_site(conn, f"site-{next(_numbers)}")
        self.alert_count = 0
        self.restart()
        for threshold in spike_thresholds:
            webhook = structs.replace(new_webhook(f"wh_{self.site.slug}_{threshold}", threshold), site_id=self.site.id)
            subscriptions.add_webhook(conn, webhook)

    def restart(self) -> None:
        self.writer = open_writer(self.conn, next(_numbers) * 100)

    def send_visitors(self, minute: float, *visitors: int, age_minutes: float = 0) -> list[tuple[int, int]]:
        """Store an event of each visitor. Returns the spikes (visitors, threshold) that are reported.

        The events are stored at `minute` and happened `age_minutes` earlier.
        """
        now_ms = round(NOW + minute * MINUTE_MS)
        new_events = [
            new_event(timestamp_ms=round(now_ms - age_minutes * MINUTE_MS), visitor=visitor) for visitor in visitors
        ]
        store_group(self.conn, self.writer, [request(self.site, *new_events)], {}, now_ms)
        alerts = [json.loads(delivery.body)["data"] for delivery in delivery_log.of_site(self.conn, self.site.id)]
        new_count, self.alert_count = len(alerts) - self.alert_count, len(alerts)
        return [(delivery["active_visitors"], delivery["threshold"]) for delivery in alerts[:new_count]]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_spike_alerts_when_it_starts_and_rearms_when_it_is_over(conn: sqlite3.Connection, restarts: bool) -> None:
    site = WatchedSite(conn, 5)
    rows: list[tuple[float, tuple[int, ...], list[tuple[int, int]]]] = [
        *[(0, (1, 2, 3, 4), []), (0.1, (5, 5, 5, 1), []), (1, (6,), [(6, 5)])],
        *[(1.1, (7, 8), []), (5.05, (9,), [])],
        (5.2, (10,), []),  # 6, 7, 8, 9 are still active: not below 80 percent
        *[(6, (11,), []), (6.05, (12,), [])],  # the same spike continues
        (10.3, (13,), []),  # only 11, 12 are still active: the alert is rearmed
        *[(10.4, (14, 15), []), (10.5, (16,), [(6, 5)]), (30, (*range(20, 30),), [(10, 5)]), (30.1, (40,), [])],
    ]
    for minute, visitors, expected in rows:
        if restarts:
            site.restart()
        assert site.send_visitors(minute, *visitors) == expected, minute


def test_every_webhook_has_its_own_spikes(conn: sqlite3.Connection) -> None:
    site = WatchedSite(conn, 1, 3)
    assert [site.send_visitors(n / 10, n) for n in range(1, 6)] == [[], [(2, 1)], [], [(4, 3)], []]


LATE_EVENT_CASES: list[tuple[str, list[tuple[float, int, float]], list[int]]] = [
    ("long ago", [(0, 1, 5.1), (0, 2, 6), (0, 3, 5.1), (1, 1, 0), (1, 2, 4.9), (1, 3, 4.9)], [0, 0, 0, 0, 0, 3]),
    ("late event, active since", [(0, 1, 0), (0.1, 1, 4.5), (1, 2, 0), (1.1, 3, 0)], [0, 0, 0, 3]),
    ("late event, gone since", [(0, 1, 0), (0, 2, 4.9), (2, 3, 0)], [0, 0, 0]),
    ("a clock ahead", [(0, 1, -60), (0, 2, -60), (10, 3, 0)], [0, 0, 0]),
]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("label", "visits", "active"), LATE_EVENT_CASES, ids=[label for label, *_ in LATE_EVENT_CASES])
def test_event_timestamps_neither_cause_nor_hide_a_spike(
    conn: sqlite3.Connection, label: str, visits: list[tuple[float, int, float]], active: list[int], restarts: bool
) -> None:
    site = WatchedSite(conn, 2)
    for (minute, visitor, age_minutes), expected in zip(visits, active, strict=True):
        if restarts:
            site.restart()
        assert site.send_visitors(minute, visitor, age_minutes=age_minutes) == ([(expected, 2)] if expected else []), (
            minute
        )


@pytest.fixture
def site(tmp_path: Path, start: Start) -> Place:
    store = Store(tmp_path / "data")
    store.site("first")
    return Place(store, start(store), "--monthly-limit", "10")


def send_custom_events(site: Place, *names: str, **fields: object) -> None:
    events = [{"type": "custom", "event_name": name, "url": "https://example.com/a"} | fields for name in names]
    batch = {"site_id": site.slug, "events": events}
    assert site.server.send("/api/v1/events/batch", batch, site.key).status == 201


def test_usage_alerts_once_per_month_and_threshold(site: Place, start: Start) -> None:
    add_webhook(site.store, site.slug, "--on", "usage.threshold")
    months = {datetime.now(UTC).strftime("%Y-%m")}
    send_custom_events(site, *"1234567")
    assert sent_messages(site.store, site.slug) == []
    send_custom_events(site, *"89abcdefgh")
    messages = sent_messages(site.store, site.slug)
    months.add(datetime.now(UTC).strftime("%Y-%m"))
    assert {message["data"].pop("period") for message in messages} <= months
    assert [message["data"] for message in messages] == [{"threshold": n, "usage": 17, "limit": 10} for n in (80, 100)]
    assert {(message["event"], message["site_id"]) for message in messages} == {("usage.threshold", site.slug)}
    send_custom_events(site, "over the limit")
    site.server.stop()
    site.server = start(site.store)
    send_custom_events(site, "after a restart")
    site.store.run("site", "change", site.slug, "--monthly-limit", "30")
    send_custom_events(site, *"0123456789abcdef")
    assert len(sent_messages(site.store, site.slug)) == 2
    assert len(site.store.events(site.slug)) == 35


def test_a_flood_of_goals_does_not_throttle_usage_alerts(site: Place) -> None:
    add_webhook(site.store, site.slug, "--on", "goal.completed", "--on", "usage.threshold")
    site.store.call("goal", "add", site.slug, "Purchase", "--event", "buy")
    send_custom_events(site, *["buy"] * 150)
    deliveries = [
        (delivery["event"], delivery["status"]) for delivery in site.store.call("delivery", "list", site.slug)
    ]
    assert ("goal.completed", "throttled") in deliveries
    assert [status == "throttled" for event, status in deliveries if event == "usage.threshold"] == [False, False]


def test_a_goal_message_has_the_documented_fields(site: Place) -> None:
    add_webhook(site.store, site.slug, "--on", "goal.completed", "--on", "usage.threshold")
    site.store.call("goal", "add", site.slug, "Purchase", "--event", "buy")
    send_custom_events(site, "buy", timestamp="2025-03-15T15:32:18.987+01:00", referrer="https://www.google.com/")
    (message,) = sent_messages(site.store, site.slug)
    data = {"goal_name": "Purchase", "visitor_count": 1, "url": "/a", "source": "google", "country": ""}
    common = {"event": "goal.completed", "timestamp": "2025-03-15T14:32:18Z", "site_id": site.slug}
    assert message == common | {"data": data | {"country": message["data"]["country"]}}
    assert list(message) == ["event", "timestamp", "site_id", "data"]


def test_deliveries_above_100_an_hour_are_logged_but_not_sent(site: Place) -> None:
    add_webhook(site.store, site.slug, "--on", "goal.completed")
    site.store.call("goal", "add", site.slug, "Buy", "--event", "buy")
    for number in (60, 60, 3):
        send_custom_events(site, *["buy"] * number)
    deliveries = site.store.call("delivery", "list", site.slug)
    throttled = [delivery["status"] == "throttled" for delivery in reversed(deliveries)]
    assert throttled == [False] * 100 + [True] * 23
    assert deliveries[0]["tries"] == 0
    assert len(met_goals(site.store, site.slug)) == 123
