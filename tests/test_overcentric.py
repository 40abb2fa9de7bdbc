"""Overcentric's Event API, as its users call it."""

import json
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import pytest

from ovx_lite.domain.calendar import HOUR_MS
from tests.conftest import Response, RunningSite, Start, Store
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

EVENT = "/api/v1/event"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
REQUIRED_FIELDS: Fields = {
    "name": "signup",
    "project_id": "my-site",
    "device_id": "d",
    "session_id": "s",
    "context": "product",
}
ANN = {"unique_identifier": "user_1", "email": "ann@example.com", "name": "Ann Example", "project_id": "my-site"}


def body(event: Mapping[str, object], identity: object = ...) -> Fields:
    """Return a request body; a field with the value `...` is omitted."""
    return without_omitted({"event": without_omitted(REQUIRED_FIELDS | dict(event)), "identity": identity})


def send(
    running: RunningSite, identity: object = ..., headers: Mapping[str, str] | None = None, **event: object
) -> Response:
    return running.server.send(EVENT, body(event, identity), headers=headers)


def stored_events(running: RunningSite, *answers: Response) -> list[Fields]:
    exported = {event["id"]: event for event in running.store.events()}
    return [exported[response.json["event_id"]] for response in answers]


PLAN = {"plan": "gold", "price": 29.99, "interval": "monthly"}

# fmt: off
# The event and identity that are sent, and fields of the exported event.
ACCEPTED: dict[str, tuple[Fields, object, Fields]] = {
    "a purchase": (
        {"name": "$subscription_purchase", "properties": PLAN, "hostname": "app.example.com"}
        | {"url": "https://app.example.com/checkout/done"}, ANN,
        {"api": "overcentric", "type": "event", "name": "$subscription_purchase", "context": "product"}
        | {"host": "app.example.com", "path": "/checkout/done", "person": "user_1", "props": PLAN}
        | {"revenue": "29.99", "currency": "XXX", "excluded": None, "source": "direct"},
    ),
    "a payment provider's webhook": (
        {"name": "$subscription_purchase", "device_id": "webhook", "session_id": "webhook"}
        | {"properties": {"plan": "plan_9", "amount": 1250 / 100}},
        {"unique_identifier": "cus_9", "project_id": "my-site"},
        {"host": None, "path": None, "person": "cus_9", "revenue": "12.50", "currency": "XXX"},
    ),
    "only the required fields, of a website": (
        {"device_id": "d-0", "context": "website"}, ...,
        dict.fromkeys(("host", "path", "props", "person", "revenue", "currency")) | {"context": "website"},
    ),
    "a host": ({"hostname": "App.Example.com:8443"}, ..., {"host": "app.example.com", "path": None}),
    "a URL of another host": ({"url": "https://a.example/x", "hostname": "b.example"}, ..., {"host": "a.example"}),
    "an app's URL": ({"url": "app://a/b"}, ..., {"host": "a", "path": "/b"}),
    "a URL is stored without secrets": (
        {"url": "https://me:secret@example.com:8443/a?token=t&utm_source=Mail&utm_medium=email#x"}, ...,
        {"host": "example.com", "path": "/a", "utm_source": "Mail", "utm_medium": "email", "channel": "email"},
    ),
    "null for optional fields": (
        dict.fromkeys(("url", "hostname", "properties", "timestamp")) | {"device_id": "d-00"}, None, {"person": None},
    ),
    "null for optional fields of an identity": (
        {}, {"unique_identifier": "user_2", "project_id": "my-site", "email": None, "name": None}, {"person": "user_2"},
    ),
    "empty optional fields": ({"url": "", "hostname": "", "properties": {}}, ..., {"host": None, "props": None}),
    "unknown fields": ({"colour": {"a": [1]}}, ANN | {"colour": 5}, {"person": "user_1", "props": None}),
    "properties of every kind": ({"properties": FREE}, ..., {"props": FREE}),
    "fifty properties": ({"properties": FIFTY}, ..., {"props": FIFTY}),
    "a name of 4,096 bytes": ({"name": "é" * 2048}, ..., {"name": "é" * 2048}),
    "a time in ISO 8601": ({"timestamp": "2025-01-15T10:30:00+05:30"}, ..., {"ts": "2025-01-15T05:00:00.000Z"}),
    "a time in Unix milliseconds": ({"timestamp": 1_736_937_000_123}, ..., {"ts": "2025-01-15T10:30:00.123Z"}),
    "a time 23 hours ahead": ({"timestamp": NOW_MS + 23 * HOUR_MS}, ..., {"ts": iso_time(NOW_MS + 23 * HOUR_MS)}),
}
# A name and its properties, and the resulting revenue.
REVENUE_CASES: list[tuple[str, Fields, str | None, str | None]] = [
    ("$purchase", {"amount": 0.1, "currency": "EUR"}, "0.10", "EUR"),
    ("$purchase", {"amount": 19.99, "currency": "usd"}, "19.99", "USD"),
    ("$purchase", {"price": 9007199254740.99, "currency": "USD"}, "9007199254740.99", "USD"),
    ("$purchase", {"amount": "5.000", "currency": None}, "5.00", "XXX"),
    ("$purchase", {"amount": 500, "currency": "JPY"}, "500", "JPY"),
    ("$purchase", {"amount": 1.234, "currency": "KWD"}, "1.234", "KWD"),
    ("$refund", {"amount": -7.5, "currency": "EUR"}, "-7.50", "EUR"),
    ("$purchase", {"amount": 0, "price": 4}, "0.00", "XXX"),
    ("$purchase", {"amount": None, "price": 4}, "4.00", "XXX"),
    ("$purchase", {"amount": 3, "price": "not a number"}, "3.00", "XXX"),
    ("$of_their_own", {"amount": 1}, "1.00", "XXX"),
    ("$of_their_own", {"plan": "gold", "currency": "EUR", "price": None}, None, None),
    *[("$of_their_own", {"price": price, "currency": "EUR"}, None, None) for price in ("call us", "1_0", " 5", "٥")],
    *[("$subscription_cancel", {"price": price, "currency": "EUR"}, None, None) for price in (29.99, "free")],
    *[("purchase", {"price": price, "currency": "EUR"}, None, None) for price in (29.99, "free")],
]
# fmt: on
ALL_ACCEPTED = ACCEPTED | {
    f"{name} {props}": ({"name": name, "properties": props}, ..., {"name": name, "revenue": revenue, "currency": code})
    for name, props, revenue, code in REVENUE_CASES
}


@pytest.fixture(scope="module")
def responses_and_events(running: RunningSite) -> dict[str, tuple[Response, Fields]]:
    """Send all of `ALL_ACCEPTED`. Returns by case the response and, if it was stored, the exported event."""
    responses = {
        what: running.server.send(EVENT, body(event, identity)) for what, (event, identity, _) in ALL_ACCEPTED.items()
    }
    exported = {event["id"]: event for event in running.store.events()}
    return {what: (response, exported.get(response.json.get("event_id"), {})) for what, response in responses.items()}


@pytest.mark.parametrize("what", ALL_ACCEPTED)
def test_an_accepted_event_is_exported_as_sent(
    responses_and_events: dict[str, tuple[Response, Fields]], what: str
) -> None:
    response, event = responses_and_events[what]
    assert (response.status, response.json) == (200, {"success": True, "event_id": event.get("id")})
    expected = ALL_ACCEPTED[what][2]
    assert {column: event[column] for column in expected} == expected
    assert all((event["id"].startswith("evt_"), event["visitor"], event["visit"]))


# fmt: off
PROPERTIES = "event.properties"
# By field of `FULL`, its invalid values.
FULL = body({"name": "$purchase", "properties": {"amount": 9, "currency": "EUR"}}, ANN)
INVALID_VALUES: dict[str, list[Any]] = {
    **{f"event.{name}": REQUIRED for name in REQUIRED_FIELDS if name != "context"},
    "event.context": [*REQUIRED, "Product", "app", "web site"],
    "event.url": [5, [], "https://", "a b", "/pricing", "example.com/", "https://e.com:x/", "app://" + TOO_LONG],
    "event.hostname": [5, [], "a b", "https://a.example", "a/b", "me@a", "?", ":", TOO_LONG],
    "event.timestamp": [
        "", "soon", True, [], {}, 0, -1, 1_736_937_000, 10**40, NOW_MS + 25 * HOUR_MS,
        iso_time(NOW_MS + 25 * HOUR_MS),
    ],
    "identity": [5, "user_1", [], True],
    "identity.unique_identifier": REQUIRED,
    "identity.project_id": [*REQUIRED, "other-site", "no-site", "MY-SITE"],
    **{f"identity.{name}": [5, [], {}, TOO_LONG] for name in ("email", "name")},
    PROPERTIES: [{"a": TOO_LONG}, {"a": [{TOO_LONG: 1}]}, {"é" * 2049: 1}],
    f"{PROPERTIES}.amount": [1e30, 10**30, 1.005, "NaN", "-Infinity", "1,50", "free", "", True, [], {}],
    f"{PROPERTIES}.currency": ["XYZ", "XXX", "EURO", "€", 978, ["EUR"], True],
}
# fmt: on


def with_value(path: str, value: object) -> Fields:
    """Return `FULL` with another value of a field; `...` removes the field."""
    document: Fields = json.loads(json.dumps(FULL))
    *parents, name = path.split(".")
    parent: Fields = reduce(getitem, parents, document)
    parent[name] = value
    if value is ...:
        del parent[name]
    return document


def test_an_invalid_field_is_named_and_nothing_is_stored(running: RunningSite) -> None:
    before = running.store.events()
    unexpected = {}
    for field, value in [(field, value) for field, values in INVALID_VALUES.items() for value in values]:
        response = running.server.send(EVENT, with_value(field, value))
        if status_or_error(response) != (400, "invalid_request", field):
            unexpected[f"{field}: {value!r:.80}"] = status_or_error(response)
    assert unexpected == {}
    assert new_events(running, before) == []


@pytest.mark.parametrize("properties", [5, "a", True, [], [{}], FIFTY | {"one": "more"}], ids=lambda it: f"{it!r:.20}")
def test_too_many_properties_or_a_wrong_type_are_rejected(running: RunningSite, properties: object) -> None:
    assert send(running, properties=properties).error == (400, "invalid_props", PROPERTIES)
    assert send(running, properties=properties, url="no").error == (400, "invalid_request", "event.url")


@pytest.mark.parametrize(("price", "code"), [(0.5, "JPY"), ("1.2345", "KWD"), (1.005, None), ("a", "EUR"), (True, "")])
def test_an_invalid_price_is_rejected_like_an_invalid_amount(running: RunningSite, price: object, code: object) -> None:
    response = send(running, name="$purchase", properties={"price": price, "currency": code})
    assert response.error == (400, "invalid_request", f"{PROPERTIES}.price")


@pytest.mark.parametrize("properties", [{}, 5])
def test_an_unknown_project_is_reported_before_invalid_properties(running: RunningSite, properties: object) -> None:
    response = send(running, project_id="no-site", properties=properties)
    assert response.error == (404, "invalid_site_id", "event.project_id")


INVALID_BODIES: dict[bytes, str | None] = {
    b"": None, b"{": None, b"[]": None, b"5": None, b'"a"': None, b'{"event": {"name": NaN}}': None, b"{}": "event",
    b'{"event": 5}': "event", b'{"event": []}': "event", b'{"x": %s}' % (b"[" * 16 + b"]" * 16): None,
}  # fmt: skip


@pytest.mark.parametrize("invalid_body", INVALID_BODIES)
def test_a_body_that_is_not_an_event_is_rejected(running: RunningSite, invalid_body: bytes) -> None:
    assert running.server.send(EVENT, invalid_body).error == (400, "invalid_request", INVALID_BODIES[invalid_body])


MESSAGES: list[tuple[Fields, str]] = [
    ({"timestamp": 1_736_937_000}, "seconds"), ({"hostname": "app.example.com:port"}, "host name"),
    ({"name": "$purchase", "properties": {"price": 0.123, "currency": "EUR"}}, "2. EUR has 2 decimals"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "expected_text"), MESSAGES)
def test_an_error_message_says_how_to_fix_the_event(running: RunningSite, event: Fields, expected_text: str) -> None:
    assert expected_text in running.server.send(EVENT, body(event)).json["error"]["message"]


@pytest.mark.parametrize("where", [{}, {"hostname": "example.com"}, {"url": "https://example.com/"}])
def test_a_bot_is_excluded_with_or_without_a_url(running: RunningSite, where: Fields) -> None:
    (event,) = stored_events(running, send(running, headers={"User-Agent": GOOGLEBOT}, **where))
    assert (event["excluded"], event["visitor"]) == ("bot", None)


def test_a_foreign_host_is_rejected_and_its_field_is_named(store: Store, start: Start) -> None:
    store.site("my-site", "--allowed-hosts", "example.com")
    guarded = RunningSite(store, start(store), "", "")
    for field, elsewhere in (("url", "https://evil.example/"), ("hostname", "evil.example")):
        response = guarded.server.send(EVENT, body({field: elsewhere}))
        assert response.error == (400, "invalid_request", f"event.{field}")
    assert send(guarded, hostname="www.example.com").status == 200


def test_devices_become_visitors_sessions_visits_and_identities_persons(running: RunningSite) -> None:
    bob = {"unique_identifier": "bob", "project_id": "my-site", "email": "bob@example.com"}
    hits = [("d-9", "a", None), ("d-9", "a", bob), ("d-9", "b", None), ("d-8", "a", None)]
    responses = [send(running, identity, device_id=device, session_id=session) for device, session, identity in hits]
    events = stored_events(running, *responses)
    visitors, visits = [event["visitor"] for event in events], [event["visit"] for event in events]
    assert (visitors[0] == visitors[1] == visitors[2], len(set(visitors))) == (True, 2)
    assert (visits[0] == visits[1], len(set(visits))) == (True, 3)
    assert [event["person"] for event in events] == ["bob", "bob", "bob", None]
    send(running, bob | {"email": None, "name": "Bob B."}, device_id="d-10")
    person = running.store.run("person", "show", "my-site", "bob", "--json").json
    assert (person["email"], person["name"], person["events"]) == ("bob@example.com", "Bob B.", 4)


def test_a_repeated_key_returns_the_first_response_and_another_event_a_conflict(running: RunningSite) -> None:
    before, headers = running.store.events(), {"Idempotency-Key": "once-overcentric"}
    first, again, other = (send(running, headers=headers, name=name) for name in ("one", "one", "two"))
    assert (first.status, "idempotency-replayed" in first.headers) == (200, False)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (200, first.body, "true")
    assert other.error == (409, "idempotency_conflict", "Idempotency-Key")
    assert [event["id"] for event in new_events(running, before)] == [first.json["event_id"]]


def test_a_text_plain_body_of_up_to_64_kib_is_parsed_as_json(running: RunningSite) -> None:
    body_bytes, headers = json.dumps(body({})).encode(), {"Content-Type": "text/plain;charset=UTF-8"}
    assert running.server.send(EVENT, body_bytes.ljust(65_536), headers=headers).status == 200
    assert running.server.send(EVENT, body_bytes.ljust(65_537)).error == (413, "payload_too_large", None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_rejected(running: RunningSite, method: str) -> None:
    response = running.server.send(EVENT, method=method)
    assert (response.error, response.headers["allow"]) == ((405, "method_not_allowed", None), "OPTIONS, POST")
