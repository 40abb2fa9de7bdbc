"""Apex's Events API over HTTP, with single events and batches."""

import json
from collections.abc import Mapping
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

EVENTS = "/api/events"
VIEW = {"type": "pageview", "url": "https://example.com/pricing"}
SENDER = {"projectKey": "my-site", "visitorId": "v_1"}
REQUEST, PROPS = "invalid_request", "invalid_props"


def send(running: RunningSite, headers: Mapping[str, str] | None = None, **fields: object) -> Response:
    """Send one event; a field with the value `...` is omitted."""
    return running.server.send(EVENTS, without_omitted(SENDER | VIEW | fields), headers=headers)


def batch(
    running: RunningSite, *events: object, headers: Mapping[str, str] | None = None, **fields: object
) -> Response:
    return running.server.send(
        EVENTS, without_omitted({"projectKey": "my-site", "events": events} | fields), headers=headers
    )


# The fields sent, and the fields expected in the export. Each case is sent alone and in a batch.
STORED_CASES: dict[str, tuple[Fields, Fields]] = {
    "a pageview": (
        VIEW | {"referrer": "https://google.com"},
        {"api": "apex", "type": "pageview", "name": "pageview", "host": "example.com", "path": "/pricing"}
        | {"referrer": "google.com/", "source": "google", "channel": "search", "context": None, "revenue": None}
        | {"currency": None, "excluded": None},
    ),
    "a click": ({"type": "click", "url": "/pricing", "data": {"elementId": "plan-max"}}, {"type": "click"}),
    "a form": ({"type": "form_submit", "url": "/a"}, {"type": "form_submit", "name": "form_submit", "path": "/a"}),
    "a custom event": (VIEW | {"type": "Über 🎉"}, {"type": "event", "name": "Über 🎉"}),
    "a conversion, which Apex does not have": (VIEW | {"type": "conversion"}, {"type": "event", "name": "conversion"}),
    "a type of 4,096 bytes": (VIEW | {"type": "é" * 2048}, {"type": "event", "name": "é" * 2048}),
    "a path": (VIEW | {"url": "/a/b"}, {"host": "example.com", "path": "/a/b", "source": "direct"}),
    "a path with a campaign": (VIEW | {"url": "/a?utm_source=Mail&q=1#x"}, {"path": "/a", "utm_source": "Mail"}),
    "the root": (VIEW | {"url": "/"}, {"host": "example.com", "path": "/"}),
    "another host's URL": (VIEW | {"url": "https://b.example:8443/?t=secret"}, {"host": "b.example", "path": "/"}),
    "an app's URL": (VIEW | {"url": "app://a/b"}, {"host": "a", "path": "/b"}),
    "the site's own referrer": (VIEW | {"referrer": "https://example.com/"}, {"source": "own"}),
    "empty and null": (VIEW | {"referrer": "", "timestamp": None}, {"referrer": None, "source": "direct"}),
    "unknown fields": (VIEW | {"colour": [{"a": 1}], "props": 5}, {"path": "/pricing"}),
    "data of every kind": (VIEW | {"data": FREE}, {"props": FREE}),
    "a field named events": (VIEW | {"data": {"events": [1]}}, {"props": {"events": [1]}}),
    "a time": (VIEW | {"timestamp": "2025-01-15T10:30:00Z"}, {"ts": "2025-01-15T10:30:00.000Z"}),
    "a time with an offset": (VIEW | {"timestamp": "2025-01-15T10:30:00.5+02:00"}, {"ts": "2025-01-15T08:30:00.500Z"}),
    "a time 23 hours ahead": (
        VIEW | {"timestamp": iso_time(NOW_MS + 23 * HOUR_MS)},
        {"ts": iso_time(NOW_MS + 23 * HOUR_MS)},
    ),
}


@pytest.fixture(scope="module")
def stored_events(running: RunningSite) -> dict[str, Fields]:
    """Send all `STORED_CASES`, alone and in a batch. Return the exported events by "how what"."""
    marked = {
        how: [
            event | {"data": {**event.get("data", {}), "case": f"{how} {what}"}}
            for what, (event, _) in STORED_CASES.items()
        ]
        for how in ("alone", "together")
    }
    assert {send(running, **event).body for event in marked["alone"]} == {b'{"received":1}'}
    response = batch(running, *marked["together"], userId="lead_1", visitorId="v_2")
    assert (response.status, response.json) == (200, {"received": len(STORED_CASES)})
    return {event["props"].pop("case"): event for event in running.store.events() if "case" in (event["props"] or {})}


@pytest.mark.parametrize("what", STORED_CASES)
@pytest.mark.parametrize("how", ["alone", "together"])
def test_sent_fields_are_exported(stored_events: dict[str, Fields], how: str, what: str) -> None:
    event, expected = stored_events[f"{how} {what}"], STORED_CASES[what][1]
    assert {column: event[column] for column in expected} == expected
    assert event["person"] == ("lead_1" if how == "together" else None)
    assert all((event["visitor"], event["visit"]))


@pytest.mark.parametrize("data", [..., None, {}, FIFTY])
def test_data_may_have_0_to_50_entries(running: RunningSite, data: object) -> None:
    before = running.store.events()
    answers = [send(running, data=data), batch(running, without_omitted(VIEW | {"data": data}))]
    assert [(response.status, response.json) for response in answers] == [(200, {"received": 1})] * 2
    assert [(event["name"], event["props"]) for event in new_events(running, before)] == [
        ("pageview", data if data == FIFTY else None)
    ] * 2


def test_null_counts_as_absent_and_a_text_body_is_parsed_as_json(running: RunningSite) -> None:
    text = {"Content-Type": "text/plain;charset=UTF-8"}
    assert send(running, text, events=None, userId=None, sessionId=None).json == {"received": 1}
    assert batch(running, VIEW, headers=text, userId=None, visitorId=None, sessionId="").json == {"received": 1}


def test_a_public_key_names_the_site_and_paths_are_stored_without_a_domain(running: RunningSite) -> None:
    site = running.store.site("keyed")
    assert site["public_key"].startswith("pk_live_")
    assert batch(running, VIEW | {"url": "/pricing"}, projectKey=site["public_key"]).status == 200
    assert [(event["host"], event["path"]) for event in running.store.events("keyed")] == [(None, "/pricing")]


def test_a_batch_has_1_to_1000_events_and_counts_as_one_request(running: RunningSite) -> None:
    remaining = int(send(running).headers["ratelimit-remaining"])
    response = batch(running, *[VIEW] * 1000)
    assert (response.json, int(response.headers["ratelimit-remaining"])) == ({"received": 1000}, remaining - 1)
    assert "1000 events" in batch(running, *[VIEW] * 1001).json["error"]["message"]


# Invalid fields of one event, sent alone and as the second event of a batch.
INVALID_FIELDS: dict[str, list[Any]] = {
    "type": REQUIRED,
    "url": [*REQUIRED, "pricing", "//evil.example/", "?a=1", "https://", "/a\n", "https://e.com:x/"],
    "referrer": [5, [], {}, "google", "/a", "https://", "app://" + TOO_LONG],
    "timestamp": [
        "",
        "1736937000",
        1_736_937_000_123,
        True,
        [],
        "2025-13-01",
        "1969-12-31",
        iso_time(NOW_MS + 25 * HOUR_MS),
    ],
    "data": [{"a": TOO_LONG}, {"a": [{TOO_LONG: 1}]}, {"é" * 2049: 1}],
}
INVALID_DATA: list[Any] = [5, "a", True, [], [{}], FIFTY | {"one": "more"}]
# Invalid fields outside the events, in both formats.
INVALID_ENVELOPE: dict[str, list[Any]] = {
    "projectKey": REQUIRED,
    **{field: [5, [], {}, TOO_LONG] for field in ("userId", "sessionId", "visitorId")},
}
INVALID_EVENTS: list[tuple[Any, str, str]] = [
    ([], "events", REQUEST),
    ({}, "events", REQUEST),
    ("a", "events", REQUEST),
    (0, "events", REQUEST),
    ([VIEW] * 1001, "events", REQUEST),
    ([VIEW, None], "events[1]", REQUEST),
    ([VIEW, []], "events[1]", REQUEST),
    ([VIEW] * 999 + [VIEW | {"url": "no"}], "events[999].url", REQUEST),
    ([VIEW | {"data": 5}, VIEW | {"url": "no"}], "events[1].url", REQUEST),
    ([VIEW, VIEW | {"data": 5}, VIEW | {"data": 5}], "events[1].data", PROPS),
]
# fmt: on


def test_an_invalid_field_is_named_in_the_error_and_nothing_is_stored(running: RunningSite) -> None:
    before = running.store.events()
    results: list[tuple[object, object, tuple[int, str, str]]] = []
    invalid_values = [(field, value, REQUEST) for field, values in INVALID_FIELDS.items() for value in values]
    for field, value, code in invalid_values + [("data", value, PROPS) for value in INVALID_DATA]:
        results.append(((field, value), status_or_error(send(running, **{field: value})), (400, code, field)))
        response = batch(running, VIEW, without_omitted(VIEW | {field: value}), VIEW)
        results.append(((field, value, "in a batch"), status_or_error(response), (400, code, f"events[1].{field}")))
    for field, value in [(field, value) for field, values in INVALID_ENVELOPE.items() for value in values]:
        results.append(((field, value), status_or_error(send(running, **{field: value})), (400, REQUEST, field)))
        results.append(
            ((field, value, "batch"), status_or_error(batch(running, VIEW, **{field: value})), (400, REQUEST, field))
        )
    for events, path, code in INVALID_EVENTS:
        results.append((path, status_or_error(batch(running, events=events)), (400, code, path)))
    for missing in (..., None, ""):
        results += [("a visitor", status_or_error(send(running, visitorId=missing)), (400, REQUEST, "visitorId"))]
    assert [(f"{what!r:.80}", error, expected) for what, error, expected in results if error != expected] == []
    assert new_events(running, before) == []


@pytest.mark.parametrize("timestamp", ["1736937000", "soon", 1_736_937_000_123])
def test_the_error_for_an_invalid_time_names_the_right_format(running: RunningSite, timestamp: object) -> None:
    assert "milliseconds" not in send(running, timestamp=timestamp).json["error"]["message"], (
        "only ISO 8601 is accepted"
    )


@pytest.mark.parametrize("key", ["no-site", "pk_live_no", "MY-SITE"])
def test_an_unknown_project_key_is_404(running: RunningSite, key: str) -> None:
    for response in (send(running, projectKey=key), batch(running, VIEW, projectKey=key)):
        assert response.error == (404, "invalid_site_id", "projectKey")


@pytest.mark.parametrize("fields", [{"data": 5}, {"events": [VIEW | {"data": []}]}])
def test_the_site_is_checked_before_the_data(running: RunningSite, fields: Fields) -> None:
    assert send(running, projectKey="no-site", **fields).error == (404, "invalid_site_id", "projectKey")


DEEP = b"[" * 16 + b"]" * 16
NO_JSON = [b"", b"{", b"[]", b"5", b'"events"', b'{"events": [NaN]}', b'{"events": [}', b'[{"events": []}]']


@pytest.mark.parametrize("body", [*NO_JSON, b'{"events": %s}' % DEEP, b'{"data": %s}' % DEEP])
def test_a_body_that_is_not_an_event_is_refused(running: RunningSite, body: bytes) -> None:
    assert running.server.send(EVENTS, body).error == (400, "invalid_request", None)


def test_ids_determine_the_visitor_and_the_visit(running: RunningSite) -> None:
    before, headers = running.store.events(), {"User-Agent": CHROME}
    whose = [("v_8", None), ("v_8", None), ("v_8", "s"), ("v_8", "s"), ("v_9", "s"), ("anonymous", None)]
    for visitor, session in whose:
        assert send(running, headers, visitorId=visitor, sessionId=session).status == 200
    batch(running, VIEW, visitorId="v_8", sessionId="s")
    batch(running, VIEW)
    events = new_events(running, before)
    visitors, visits = [event["visitor"] for event in events], [event["visit"] for event in events]
    assert len({*visitors[:4], visitors[6]}) == 1
    assert (len(set(visitors[:6])), visitors[7]) == (3, None)
    assert (visits[0] == visits[1], visits[2] == visits[3] == visits[6], len(set(visits[:6]))) == (True, True, 4)


def test_a_user_id_attributes_the_visitors_events_to_a_person_including_earlier_ones(running: RunningSite) -> None:
    before = running.store.events()
    send(running, visitorId="v_eve")
    batch(running, VIEW, VIEW, visitorId="v_eve", userId="eve")
    send(running, visitorId="v_eve")
    batch(running, VIEW, userId="eve")
    assert [event["person"] for event in new_events(running, before)] == ["eve"] * 5


@pytest.mark.parametrize("fields", [{}, {"events": [VIEW, VIEW], "visitorId": ...}])
def test_a_repeat_gets_the_first_response_and_another_body_a_conflict(running: RunningSite, fields: Fields) -> None:
    before, once = running.store.events(), {"Idempotency-Key": f"once-apex-{len(fields)}"}
    first, again, other = (send(running, once, userId=user, **fields) for user in ("a", "a", "b"))
    assert (first.status, "idempotency-replayed" in first.headers) == (200, False)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (200, first.body, "true")
    assert other.error == (409, "idempotency_conflict", "Idempotency-Key")
    assert len(new_events(running, before)) == first.json["received"]


def test_an_event_may_have_64_kib_and_a_batch_5_mib(running: RunningSite) -> None:
    event_body, batch_body = (
        json.dumps(SENDER | VIEW).encode(),
        json.dumps({"projectKey": "my-site", "events": [VIEW]}).encode(),
    )
    bodies = [
        event_body.ljust(65_536),
        event_body.ljust(65_537),
        batch_body.ljust(5 * 1024 * 1024),
        batch_body.ljust(5 * 1024 * 1024 + 1),
    ]
    assert [running.server.send(EVENTS, body).status for body in bodies] == [200, 413, 200, 413]
    assert running.server.send(EVENTS, bodies[1]).error == (413, "payload_too_large", None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(running: RunningSite, method: str) -> None:
    response = running.server.send(EVENTS, method=method)
    assert (response.error, response.headers["allow"]) == ((405, "method_not_allowed", None), "OPTIONS, POST")
