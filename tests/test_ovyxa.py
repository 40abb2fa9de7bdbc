"""Ovyxa's Events API, as its users call it: accepted events are exported as they were sent."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ovx_lite.domain.calendar import HOUR_MS, MINUTE_MS
from tests.conftest import CHROME, Response, RunningSite, Server, Start, Store

EVENTS = "/api/v1/events/"
URL = "https://www.example.com/pricing"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
NOW_MS = int(time.time() * 1000)
SOON_MS = NOW_MS + 23 * HOUR_MS
LONG = "x" * 4096
Fields = dict[str, Any]


def iso_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pageview(**fields: object) -> Fields:
    return {"type": "pageview", "url": URL} | fields


def custom(**fields: object) -> Fields:
    return {"type": "custom", "event_name": "signup", "url": URL} | fields


# The event that is sent, and fields of the exported event. Each is sent alone and in a batch.
ACCEPTED: dict[str, tuple[Fields, Fields]] = {
    "a pageview": (
        pageview(),
        {"api": "ovyxa", "type": "pageview", "name": "pageview", "host": "www.example.com", "path": "/pricing"}
        | {"props": None, "excluded": None, "person": None, "context": None, "revenue": None, "currency": None},
    ),
    "a custom event": (custom(), {"api": "ovyxa", "type": "event", "name": "signup", "path": "/pricing"}),
    "a name in any language": (custom(event_name="Über uns 🎉"), {"name": "Über uns 🎉"}),
    "a name of 4,096 characters": (custom(event_name=LONG), {"name": LONG}),
    "props of every kind": (
        custom(props={"plan": "pro", "trial_days": 14, "share": 0.25, "paid": True, "empty": "", "off": False}),
        {"props": {"plan": "pro", "trial_days": 14, "share": 0.25, "paid": True, "empty": "", "off": False}},
    ),
    "ten props, the longest key and the longest string": (
        custom(props={"k" * 50: "s" * 2000} | {f"p{number}": number for number in range(9)}),
        {"props": {"k" * 50: "s" * 2000} | {f"p{number}": number for number in range(9)}},
    ),
    "whole numbers of 64 bits, exactly": (
        custom(props={"most": 2**63 - 1, "least": -(2**63)}),
        {"props": {"most": 2**63 - 1, "least": -(2**63)}},
    ),
    "no props": (custom(props={}), {"props": None}),
    "no referrer": (pageview(), {"referrer": None, "source": "direct", "channel": "direct"}),
    "the host and path of a referrer": (
        pageview(referrer="https://someone:secret@www.google.com:8443/search?q=private#part"),
        {"referrer": "www.google.com/search", "source": "google", "channel": "search"},
    ),
    "a referrer from the site itself": (
        pageview(referrer="https://www.example.com/"),
        {"referrer": "www.example.com/", "source": "own", "channel": "own"},
    ),
    "an empty referrer": (pageview(referrer=""), {"referrer": None, "source": "direct"}),
    "the host and path of a URL": (
        pageview(url="https://someone:secret@Shop.Example.com:8443/A/b?token=hidden&q=1#part"),
        {"host": "shop.example.com", "path": "/A/b", "utm_source": None},
    ),
    "a URL without a path": (pageview(url="https://example.com"), {"host": "example.com", "path": "/"}),
    "an app's URL": (pageview(url="app://example/feature_used"), {"host": "example", "path": "/feature_used"}),
    "any other scheme": (custom(url="my-app+v2.0://screens/home?x=1"), {"host": "screens", "path": "/home"}),
    "all of a campaign": (
        pageview(
            url=f"{URL}?utm_source=Newsletter&utm_medium=email&utm_campaign=Spring%20sale&utm_content=a&utm_term=b"
        ),
        {"utm_source": "Newsletter", "utm_medium": "email", "utm_campaign": "Spring sale", "utm_content": "a"}
        | {"utm_term": "b", "source": "newsletter", "channel": "email", "path": "/pricing"},
    ),
    "ref as the source of a campaign": (pageview(url=f"{URL}?ref=hn"), {"utm_source": "hn"}),
    "source as the source of a campaign": (pageview(url=f"{URL}?source=hn"), {"utm_source": "hn"}),
    "the country of an IPv4 address": (pageview(ip_address="8.8.8.8"), {"country": "US"}),
    "the country of an IPv6 address": (pageview(ip_address="2001:67c:2e8:22::c100:68b"), {"country": "NL"}),
    "the country of an IPv4 address in IPv6": (pageview(ip_address="::ffff:193.0.6.139"), {"country": "NL"}),
    "no country of a private address": (pageview(ip_address="192.168.1.1"), {"country": None}),
    "browser, system and device": (
        pageview(user_agent=CHROME),
        {"browser": "Chrome", "os": "Windows", "device": "desktop", "excluded": None},
    ),
    "a bot, with the reason why it does not count": (
        pageview(user_agent=GOOGLEBOT, ip_address="8.8.8.8"),
        {"excluded": "bot", "visitor": None, "visit": None},
    ),
    "an app, whatever it sends with": (pageview(url="app://a", user_agent="okhttp/4.9"), {"excluded": None}),
    "an event without a visitor": (pageview(), {"visitor": None, "visit": None, "country": None, "browser": None}),
    "unknown fields are ignored": (pageview(colour="red", nested={"a": [1, {}]}), {"path": "/pricing"}),
    "null for optional fields": (
        custom(referrer=None, user_agent=None, ip_address=None, timestamp=None),
        {"referrer": None, "visitor": None, "country": None, "props": None},
    ),
    "a time in ISO 8601": (pageview(timestamp="2025-01-15T10:30:00Z"), {"ts": "2025-01-15T10:30:00.000Z"}),
    "a time to the millisecond": (pageview(timestamp="2025-01-15T10:30:00.123Z"), {"ts": "2025-01-15T10:30:00.123Z"}),
    "a time with an offset": (pageview(timestamp="2025-01-15T10:30:00+05:30"), {"ts": "2025-01-15T05:00:00.000Z"}),
    "a time without an offset": (pageview(timestamp="2025-01-15T10:30:00"), {"ts": "2025-01-15T10:30:00.000Z"}),
    "a time in Unix milliseconds": (pageview(timestamp=1_736_937_000_123), {"ts": "2025-01-15T10:30:00.123Z"}),
    "a time long ago": (pageview(timestamp="1971-02-03T04:05:06Z"), {"ts": "1971-02-03T04:05:06.000Z"}),
    "a time 23 hours ahead": (pageview(timestamp=SOON_MS), {"ts": iso_time(SOON_MS)}),
    "a time 23 hours ahead in ISO 8601": (pageview(timestamp=iso_time(SOON_MS)), {"ts": iso_time(SOON_MS)}),
}  # fmt: skip


def post(server: Server, key: str, event: Fields) -> Response:
    body = {"site_id": "my-site"} | {name: value for name, value in event.items() if name != "type"}
    return server.send(EVENTS + event["type"], body, key)


@pytest.fixture(scope="module")
def exported_events(running: RunningSite) -> dict[tuple[str, str], Fields]:
    """Send all of `ACCEPTED`, alone and together. Returns the exported events by format and case."""
    events = {what: event for what, (event, _) in ACCEPTED.items()}
    ids = {("alone", what): post(running.server, running.key, event).json["event_id"] for what, event in events.items()}
    batch_ids = running.server.batch(running.key, *events.values()).json["event_ids"]
    ids |= {("in a batch", what): id for what, id in zip(events, batch_ids, strict=True)}
    exported = {event["id"]: event for event in running.store.events()}
    return {key: exported[id] for key, id in ids.items()}


@pytest.mark.parametrize("what", ACCEPTED)
@pytest.mark.parametrize("how", ["alone", "in a batch"])
def test_an_accepted_event_is_exported_as_sent(
    exported_events: dict[tuple[str, str], Fields], how: str, what: str
) -> None:
    event, expected = exported_events[how, what], ACCEPTED[what][1]
    assert {column: event[column] for column in expected} == expected


def test_a_single_event_returns_201_and_its_id(running: RunningSite) -> None:
    for response in (running.server.pageview(running.key), running.server.custom(running.key)):
        assert (response.status, response.headers["content-type"]) == (201, "application/json")
        assert response.json == {"success": True, "event_id": response.json["event_id"]}
        assert response.json["event_id"].startswith("evt_")


def test_a_batch_returns_201_and_all_ids_in_order(running: RunningSite) -> None:
    response = running.server.batch(running.key, *[custom(event_name=f"order {number}") for number in range(20)])
    assert (response.status, response.json["success"], set(response.json)) == (201, True, {"success", "event_ids"})
    names = {event["id"]: event["name"] for event in running.store.events()}
    assert [names[id] for id in response.json["event_ids"]] == [f"order {number}" for number in range(20)]


@pytest.mark.parametrize(
    "fields",
    [
        {"event_name": "purchase", "props": {"amount": 99.99, "currency": "USD", "product": "Pro Plan Annual"}},
        {"event_name": "feature_used", "url": "app://example/feature_used", "props": {"format": "csv"}},
        {"event_name": "report_generated", "props": {"records_processed": 15000, "duration_seconds": 42}},
        {"event_name": "signup", "user_agent": "Mozilla/5.0...", "ip_address": "192.168.1.1"},
        {"event_name": "signup", "props": {}},
    ],
)
def test_the_documented_examples_work(running: RunningSite, fields: Fields) -> None:
    assert running.server.custom(running.key, **fields).status == 201


@pytest.mark.parametrize("send", [Server.custom, lambda server, key, **fields: server.batch(key, custom(**fields))])
def test_null_props_are_accepted(running: RunningSite, send: Callable[..., Response]) -> None:
    assert send(running.server, running.key, props=None).status == 201


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain;charset=UTF-8"}, {"Content-Type": "?"}])
def test_the_content_type_is_ignored(running: RunningSite, headers: dict[str, str]) -> None:
    body = {"site_id": "my-site", "url": URL}
    assert running.server.send(EVENTS + "pageview", body, running.key, headers).status == 201


def test_a_batch_may_hold_1000_events(running: RunningSite) -> None:
    assert len(running.server.batch(running.key, *[pageview()] * 1000).json["event_ids"]) == 1000


def test_event_ids_sort_by_time(running: RunningSite) -> None:
    first = running.server.pageview(running.key).json["event_id"]
    times = ["2025-03-01T00:00:00Z", "2001-01-01T00:00:00Z", "1975-01-01T00:00:00Z", "2025-02-28T23:59:59.999Z"]
    response = running.server.batch(running.key, *[pageview(timestamp=time) for time in times])
    ids = dict(zip(times, response.json["event_ids"], strict=True))
    assert [*[ids[time] for time in sorted(times)], first] == sorted([first, *ids.values()])


# Minutes after noon of one day in the order in which the events are sent, and a letter for the visit of each event.
VISITS = {
    "within half an hour": ([0, 29], "aa"),
    "after half an hour without events": ([0, 31], "ab"),
    "each within half an hour of the previous event": ([0, 29, 58, 87], "aaaa"),
    "a late event joins its visit": ([0, 60, 10], "aba"),
    "a late event from before the start of a visit joins it": ([20, 0, 45], "aaa"),
    "a late event far from all others": ([0, 200, 100], "abc"),
}


@pytest.fixture(scope="module")
def people(running: RunningSite) -> dict[str, list[Fields]]:
    """Send events of several visitors, each alone. Returns by case the exported events in the order of sending."""
    noon_ms = 1_741_953_600_000
    sent = {
        case: [{"ip_address": f"192.0.2.{number}", "timestamp": noon_ms + minute * MINUTE_MS} for minute in minutes]
        for number, (case, (minutes, _)) in enumerate(VISITS.items())
    }
    sent["all combinations"] = [
        {"ip_address": address, "user_agent": user_agent, "timestamp": noon_ms}
        for address, user_agent in [("198.51.100.1", CHROME)] * 2
        + [("198.51.100.2", CHROME), ("198.51.100.1", FIREFOX)]
    ]
    sent["one or none of the two"] = [{"ip_address": "198.51.100.3"}, {"user_agent": FIREFOX}, {}]
    ids = {
        case: [running.server.pageview(running.key, **event).json["event_id"] for event in events]
        for case, events in sent.items()
    }
    exported = {event["id"]: event for event in running.store.events()}
    return {case: [exported[id] for id in event_ids] for case, event_ids in ids.items()}


@pytest.mark.parametrize("case", VISITS)
def test_half_an_hour_without_events_ends_a_visit(people: dict[str, list[Fields]], case: str) -> None:
    visits = [event["visit"] for event in people[case]]
    letters = {visit: "abc"[number] for number, visit in enumerate(dict.fromkeys(visits))}
    assert "".join(letters[visit] for visit in visits) == VISITS[case][1]
    assert len({event["visitor"] for event in people[case]}) == 1


def test_a_visitor_is_identified_by_address_and_user_agent(people: dict[str, list[Fields]]) -> None:
    first, again, other_address, other_agent = [event["visitor"] for event in people["all combinations"]]
    assert first == again
    assert len({first, other_address, other_agent}) == 3


def test_an_address_or_a_user_agent_alone_identifies_a_visitor(
    people: dict[str, list[Fields]],
) -> None:
    address, agent, neither = [event["visitor"] for event in people["one or none of the two"]]
    assert address
    assert agent
    assert neither is None


def test_the_senders_address_and_user_agent_are_not_used_for_the_visitor(running: RunningSite) -> None:
    body, headers = {"site_id": "my-site", "url": URL}, {"User-Agent": GOOGLEBOT, "X-Forwarded-For": "8.8.8.8"}
    id = running.server.send(EVENTS + "pageview", body, running.key, headers).json["event_id"]
    (event,) = [event for event in running.store.events() if event["id"] == id]
    assert (event["excluded"], event["visitor"], event["country"], event["browser"]) == (None, None, None, None)


def test_no_visitor_data_and_no_key_is_in_the_store_or_the_log(store: Store, start: Start) -> None:
    store.site()
    key = store.key()
    server = start(store)
    secrets = {"ip_address": "203.0.113.217", "user_agent": f"{CHROME} Marker/77.1.9"}
    forbidden_texts = [
        "203.0.113.217",
        "Marker/77.1.9",
        "hidden-user",
        "hidden-password",
        "hidden-query",
        "hidden-part",
        "48613",
    ]
    url = "https://hidden-user:hidden-password@example.com:48613/p?q=hidden-query#hidden-part"
    responses = [
        server.pageview(key, url=url, referrer=url, **secrets),
        server.custom(key, url=url, referrer=url, **secrets),
        server.batch(key, pageview(url=url, referrer=url, **secrets)),
        server.pageview(key, ip_address="203.0.113.217 ", user_agent=secrets["user_agent"]),
        server.pageview(key, url="hidden-query", **secrets),
    ]
    assert [response.status for response in responses] == [201, 201, 201, 400, 400]
    store_bytes = b"".join(path.read_bytes() for path in store.path.iterdir())  # including the write-ahead log
    server.stop()
    all_bytes = (
        store_bytes + b"".join(path.read_bytes() for path in store.path.iterdir()) + server.log_path.read_bytes()
    )
    assert b"example.com" in all_bytes
    assert [text for text in [*forbidden_texts, key] if text.encode() in all_bytes] == []
