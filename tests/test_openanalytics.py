"""OpenAnalytics' server-side API, as its users call it."""

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from ovx_lite.domain.calendar import HOUR_MS
from tests.conftest import CHROME, Response, RunningSite
from tests.support.apex import (
    FIFTY,
    FREE,
    NOW_MS,
    REQUIRED,
    TOO_LONG,
    Fields,
    iso_time,
    new_events,
    status_or_error,
    without_omitted,
)

EVENTS, BATCH = "/v1/projects/my-site/events", "/v1/projects/my-site/events/batch"
EVENT = {"event_type": "event", "event_name": "report"}
SALE = {"event_type": "conversion", "event_name": "purchase"}
NO_REVENUE = {"revenue": None, "currency": None}
REQUEST, PROPS = "invalid_request", "invalid_props"


def send(running: RunningSite, headers: Mapping[str, str] | None = None, **fields: object) -> Response:
    """Send one event; a field with the value `...` is omitted."""
    return running.server.send(EVENTS, without_omitted(EVENT | fields), running.key, headers)


def batch(running: RunningSite, *events: object, headers: Mapping[str, str] | None = None) -> Response:
    return running.server.send(BATCH, {"events": events}, running.key, headers)


ACCEPTED: dict[str, tuple[Fields, Fields]] = {
    "a purchase": (
        SALE | {"user_id": "9f86d081", "url": "https://example.com/thanks", "revenue": 49.99, "currency": "USD"}
        | {"properties": {"plan": "max"}, "timestamp": 1_736_937_000_123},
        {"api": "openanalytics", "type": "conversion", "name": "purchase", "host": "example.com", "path": "/thanks"}
        | {"revenue": "49.99", "currency": "USD", "person": "9f86d081", "props": {"plan": "max"}, "context": None}
        | {"ts": "2025-01-15T10:30:00.123Z", "excluded": None, "source": "direct"},
    ),
    "required fields": (
        EVENT, NO_REVENUE | {"type": "event", "name": "report", "host": None, "path": None, "person": None},
    ),
    "a pageview": ({"event_type": "pageview", "url": "https://e.com/a?t=1"}, {"type": "pageview", "path": "/a"}),
    "a pageview with a name": ({"event_type": "pageview", "event_name": "Home"}, {"name": "pageview", "host": None}),
    "revenue of any event": (EVENT | {"revenue": 5, "currency": "EUR"}, {"revenue": "5.00", "currency": "EUR"}),
    "a currency alone": (SALE | {"currency": "EUR"}, NO_REVENUE | {"type": "conversion"}),
    "an app's URL": (EVENT | {"url": "app://a/b?utm_source=Mail"}, {"host": "a", "path": "/b", "utm_source": "Mail"}),
    "a name of 4,096 bytes": (EVENT | {"event_name": "é" * 2048}, {"name": "é" * 2048}),
    "null for optional fields": (
        EVENT | dict.fromkeys(("user_id", "url", "revenue", "currency", "timestamp")), NO_REVENUE | {"person": None},
    ),
    "empty strings for optional fields": (EVENT | {"user_id": "", "url": ""}, {"person": None, "host": None}),
    "unknown fields": (EVENT | {"colour": [{"a": 1}], "session_id": 5}, {"name": "report"}),
    "properties of every kind": (EVENT | {"properties": FREE}, {"props": FREE}),
    "a time 23 hours ahead": (EVENT | {"timestamp": NOW_MS + 23 * HOUR_MS}, {"ts": iso_time(NOW_MS + 23 * HOUR_MS)}),
    "a time with a fraction": (EVENT | {"timestamp": 1_736_937_000_123.9}, {"ts": "2025-01-15T10:30:00.123Z"}),
}  # fmt: skip
# The revenue as JSON, its currency, and the revenue as exported.
REVENUE_CASES = [
    ("0.1", "EUR", "0.10"), ("19.99", "EUR", "19.99"), ('"19.99"', "usd", "19.99"), ("4.35", "EUR", "4.35"),
    ("9007199254740.99", "USD", "9007199254740.99"), ('"9999999999999.99"', "USD", "9999999999999.99"),
    ("1e2", "EUR", "100.00"), ("1.5e-1", "EUR", "0.15"), ("49.9900000000000000000000000000000000", "EUR", "49.99"),
    ("0", "EUR", "0.00"), ("-7.5", "EUR", "-7.50"), ('"-0.01"', "EUR", "-0.01"), ("500", "JPY", "500"),
    ("500.00", "JPY", "500"), ("0", "JPY", "0"), ("1.234", "KWD", "1.234"), ("-0.001", "KWD", "-0.001"),
]  # fmt: skip
ALL_ACCEPTED = ACCEPTED | {
    f"{amount} {code}": (
        SALE | {"revenue": json.loads(amount, parse_float=lambda text: f"<{text}>"), "currency": code},
        {"revenue": revenue, "currency": code.upper()},
    )
    for amount, code, revenue in REVENUE_CASES
}


def as_json(document: object) -> bytes:
    """Encode JSON with the exact digits of `REVENUE_CASES`."""
    return json.dumps(document).replace('"<', "").replace('>"', "").encode()


@pytest.fixture(scope="module")
def exported_events(running: RunningSite) -> dict[str, Fields]:
    """Send all of `ALL_ACCEPTED`, alone and together. Returns the exported events by format and case."""
    events_by_format: dict[str, list[Fields]] = {"alone": [], "together": [], "in an array": []}
    for how, (what, (event, _)) in product(events_by_format, ALL_ACCEPTED.items()):
        events_by_format[how].append(event | {"properties": event.get("properties", {}) | {"case": f"{how} {what}"}})
    for event in events_by_format["alone"]:
        response = running.server.send(EVENTS, as_json(event), running.key, {"User-Agent": CHROME})
        assert (response.status, response.json) == (202, {"queued": True}), event
    for how, body in [
        ("together", {"events": events_by_format["together"]}),
        ("in an array", events_by_format["in an array"]),
    ]:
        response = running.server.send(BATCH, as_json(body), running.key, {"Content-Type": "text/plain"})
        assert (response.status, response.json) == (202, {"queued": True, "count": len(ALL_ACCEPTED)}), how
    return {event["props"].pop("case"): event for event in running.store.events() if "case" in (event["props"] or {})}


@pytest.mark.parametrize("what", ALL_ACCEPTED)
@pytest.mark.parametrize("how", ["alone", "together", "in an array"])
def test_an_accepted_event_is_exported_as_sent(exported_events: dict[str, Fields], how: str, what: str) -> None:
    event, expected = exported_events[f"{how} {what}"], ALL_ACCEPTED[what][1]
    assert {column: event[column] for column in expected} == expected
    assert bool(event["visitor"]) == bool(event["visit"]) == bool(event["person"])
    assert (event["browser"], event["country"]) == (None, None), (
        "the browser and country of the sender, not of the visitor"
    )


@pytest.mark.parametrize("properties", [..., None, {}, FIFTY])
def test_an_event_may_have_up_to_fifty_properties(running: RunningSite, properties: object) -> None:
    before = running.store.events()
    assert send(running, properties=properties, timestamp=None).status == 202
    (event,) = new_events(running, before)
    assert event["props"] == (properties if properties == FIFTY else None)
    assert iso_time(NOW_MS - HOUR_MS) < event["ts"] < iso_time(NOW_MS + HOUR_MS)


# fmt: off
# Invalid values of the fields of `FULL`: each is sent alone, as the second event of a batch, and of an array.
FULL = SALE | {"user_id": "u", "url": "https://e.com/", "revenue": 9.99, "currency": "EUR", "properties": {"a": 1}}
ODD = ["1_000", " 5", "5 ", "+5", "5.", "٥", "1e2"]  # Python parses these as numbers
INVALID_VALUES: dict[str, list[Any]] = {
    "event_type": [*REQUIRED, "Event", "click"],
    "event_name": REQUIRED,
    "user_id": [5, True, [], {}, TOO_LONG],
    "url": [5, [], "/a", "example.com/", "https://", "app://" + TOO_LONG],
    "timestamp": [
        "", "2025-01-15T10:30:00Z", "1736937000123", True, [], 1_736_937_000, 0, -1, 1e300, NOW_MS + 25 * HOUR_MS,
    ],
    "currency": [*REQUIRED, "XYZ", "XXX", "EURO", "€", 978],
    "revenue": [0.001, "1.005", 1e30, 10**30, "1e999999", "NaN", "-Infinity", "", "1,50", "free", True, [], *ODD],
    "properties": [{"a": TOO_LONG}, {"a": [{TOO_LONG: 1}]}, {"é" * 2049: 1}],
}
NO_PROPERTIES: list[Any] = [5, "a", True, [], [{}], FIFTY | {"one": "more"}]
INVALID_FIELDS: list[tuple[Fields, str, str]] = [
    *[({"properties": value}, "properties", PROPS) for value in NO_PROPERTIES],
    ({"properties": 5, "url": "no"}, "url", REQUEST), ({"revenue": None, "currency": "XYZ"}, "currency", REQUEST),
    ({"event_type": "event", "event_name": ""}, "event_name", REQUEST),
    *[({"event_type": "identify", "user_id": missing}, "user_id", REQUEST) for missing in (None, "")],
    *[({"revenue": v, "currency": code}, "revenue", REQUEST) for v, code in ((0.5, "JPY"), ("1.2345", "KWD"))],
]
INVALID_BATCHES: list[tuple[Any, str, str]] = [
    ([], "", REQUEST), ([EVENT] * 1001, "", REQUEST), ([EVENT, 5], "[1]", REQUEST), ([EVENT, None], "[1]", REQUEST),
    ([EVENT] * 999 + [{}], "[999].event_type", REQUEST),
    ([EVENT | {"properties": 5}, EVENT | {"url": "no"}], "[1].url", REQUEST),
    ([EVENT, EVENT | {"properties": 5}, EVENT | {"properties": 5}], "[1].properties", PROPS),
]
# fmt: on


def test_an_invalid_field_is_named_and_nothing_is_stored(running: RunningSite) -> None:
    before = running.store.events()
    results: list[tuple[object, object, tuple[int, str, str | None]]] = []
    cases: list[tuple[Fields, str, str]] = [
        ({field: v}, field, REQUEST) for field in INVALID_VALUES for v in INVALID_VALUES[field]
    ]
    for fields, field, code in cases + INVALID_FIELDS:
        event = without_omitted(FULL | fields)
        requests = [
            (EVENTS, event, ""),
            (BATCH, {"events": [EVENT, event]}, "events[1]."),
            (BATCH, [EVENT, event], "[1]."),
        ]
        for path, body, location in requests:
            results.append(
                (fields, status_or_error(running.server.send(path, body, running.key)), (400, code, location + field))
            )
    for events, location, code in INVALID_BATCHES:
        results.append((location, status_or_error(batch(running, *events)), (400, code, f"events{location}")))
        results.append(
            (location, status_or_error(running.server.send(BATCH, events, running.key)), (400, code, location or None))
        )
    assert [(repr(what)[:90], error, expected) for what, error, expected in results if error != expected] == []
    assert new_events(running, before) == []


@pytest.mark.parametrize("amount", [b"1e99999999999999999999", b"1e999"])
def test_an_amount_with_a_huge_exponent_is_rejected(running: RunningSite, amount: bytes) -> None:
    event = b'{"event_type": "conversion", "event_name": "sale", "currency": "EUR", "revenue": %s}' % amount
    assert running.server.send(EVENTS, event, running.key).error == (400, REQUEST, "revenue")
    assert running.server.send(BATCH, b"[%s]" % event, running.key).error == (400, REQUEST, "[0].revenue")


MESSAGES: list[tuple[Fields, str]] = [
    ({"timestamp": 1_736_937_000}, "seconds"), ({"revenue": 1}, "currency"), ({"event_type": "click"}, "identify"),
    ({"revenue": 0.123, "currency": "EUR"}, "decimals"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected_text"), MESSAGES)
def test_an_error_message_says_how_to_fix_the_event(running: RunningSite, fields: Fields, expected_text: str) -> None:
    assert expected_text in send(running, **fields).json["error"]["message"]


DEEP = b'{"event_type": "pageview", "x": %s}' % (b"[" * 16 + b"]" * 16)
INVALID_EVENTS = {
    b"": None,
    b"{": None,
    b"[]": None,
    b"5": None,
    b'{"revenue": NaN}': None,
    b"{}": "event_type",
    DEEP: None,
}
INVALID_BATCH_BODIES = {b"": None, b"[": None, b"5": None, b"[NaN]": None, b"{}": "events", b"[%s]" % DEEP: None} | {
    b'{"events": %s}' % value: "events" for value in (b"null", b"{}", b"5", b'"a"')
}
INVALID_REQUESTS = [
    (path, *bad) for path, cases in ((EVENTS, INVALID_EVENTS), (BATCH, INVALID_BATCH_BODIES)) for bad in cases.items()
]


@pytest.mark.parametrize(("path", "body", "field"), INVALID_REQUESTS)
def test_a_body_that_is_not_an_event_is_rejected(
    running: RunningSite, path: str, body: bytes, field: str | None
) -> None:
    assert running.server.send(path, body, running.key).error == (400, "invalid_request", field)


def test_identify_creates_and_updates_a_person(running: RunningSite) -> None:
    before = running.store.events()
    identify: Fields = {"event_type": "identify", "user_id": "u-1", "properties": {"plan": "free", "team": {"size": 3}}}
    send(running, **identify)
    batch(running, identify | {"properties": {"plan": "max"}}, EVENT | {"user_id": "u-1"}, EVENT)
    stored = [(event["type"], event["name"], event["person"], event["props"]) for event in new_events(running, before)]
    assert stored[:2] == [("identify", "identify", "u-1", None)] * 2
    assert stored[2:] == [("event", "report", "u-1", None), ("event", "report", None, None)]
    person = running.store.run("person", "show", "my-site", "u-1", "--json").json
    assert (person["properties"], person["events"]) == ({"plan": "max", "team": {"size": 3}}, 3)


@pytest.mark.parametrize("path", [EVENTS, BATCH])
def test_a_request_needs_a_key_of_its_project(running: RunningSite, path: str) -> None:
    body = EVENT if path == EVENTS else [EVENT]
    for invalid_key in (None, "oa_live_xxx", running.key + "x", running.key[:-1]):
        response = running.server.send(path, body, invalid_key)
        assert (response.error, response.headers["www-authenticate"]) == ((401, "unauthorized", None), "Bearer")
    for project in ("other-site", "no-site", "MY-SITE"):
        elsewhere = path.replace("my-site", project)
        assert running.server.send(elsewhere, body, running.key).error == (404, "invalid_site_id", None)
        assert running.server.send(elsewhere, body, "unknown").error == (401, "unauthorized", None)
    other_key = running.store.key("other-site")
    assert running.server.send(path, body, other_key).error == (404, "invalid_site_id", None)
    assert running.server.send(path, b"{", None).error == (400, "invalid_request", None)
    assert running.server.send(path, {"event_type": 5}, None).error == (401, "unauthorized", None)
    for fields, status in (({"url": "no"}, 400), ({"properties": 5}, 404)):
        assert running.server.send("/v1/projects/no-site/events", EVENT | fields, running.key).status == status


@pytest.mark.parametrize("path", ["a/b/events", "a%2Fb/events", "/events", "events", "my-site/events/", "my-site"])
def test_unknown_paths_are_404(running: RunningSite, path: str) -> None:
    assert running.server.send(f"/v1/projects/{path}", EVENT, running.key).error == (404, "not_found", None)


@pytest.mark.parametrize("path", [EVENTS, BATCH])
def test_a_repeated_key_returns_the_first_response_and_another_body_a_conflict(running: RunningSite, path: str) -> None:
    before, headers = running.store.events(), {"Idempotency-Key": f"once-{path}"}
    one, two = (event if path == EVENTS else [event, event] for event in (EVENT, SALE))
    first, again, other = (running.server.send(path, body, running.key, headers) for body in (one, one, two))
    assert (first.status, "idempotency-replayed" in first.headers) == (202, False)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (202, first.body, "true")
    assert other.error == (409, "idempotency_conflict", "Idempotency-Key")
    assert len(new_events(running, before)) == (1 if path == EVENTS else 2)


def test_each_event_of_a_batch_of_up_to_1000_counts_against_the_limit(running: RunningSite) -> None:
    key = running.store.key("my-site", "--hourly-limit", "1002")
    for events, expected in (([EVENT] * 1000, (202, "2")), ([EVENT] * 3, (429, "2")), ([EVENT] * 2, (202, "0"))):
        response = running.server.send(BATCH, events, key)
        assert (response.status, response.headers["ratelimit-remaining"]) == expected


@pytest.mark.parametrize(("path", "body", "limit"), [(EVENTS, EVENT, 64 * 1024), (BATCH, [EVENT], 5 * 1024 * 1024)])
def test_a_body_up_to_the_size_limit_is_accepted(running: RunningSite, path: str, body: object, limit: int) -> None:
    body_bytes = json.dumps(body).encode()
    assert running.server.send(path, body_bytes.ljust(limit), running.key).status == 202
    assert running.server.send(path, body_bytes.ljust(limit + 1), running.key).error == (413, "payload_too_large", None)


@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_rejected(running: RunningSite, path: str, method: str) -> None:
    response = running.server.send(path, method=method)
    assert (response.error, response.headers["allow"]) == ((405, "method_not_allowed", None), "POST")
