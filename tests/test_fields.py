"""Valid and invalid field values: over HTTP on every endpoint, then in the parsing functions."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovx_lite.dialects import fields
from ovx_lite.domain.calendar import HOUR_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Campaign, PageUrl
from tests.conftest import Response, RunningSite

EVENTS = "/api/v1/events/"
GOOD: dict[str, Any] = {"url": "https://example.com/", "event_name": "signup"}
TOO_LONG = "x" * 4097
YEAR_3000_MS = 32_503_680_000_000
Fields = dict[str, Any]


def send(running: RunningSite, how: str, changes: Fields) -> tuple[Response, str]:
    """Send an event alone or as the fourth of a batch. Return the response and the prefix of its field names."""
    event = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    if not how.startswith("batch of "):
        return running.server.send(EVENTS + how, {"site_id": "my-site"} | event, running.key), ""
    type = how.removeprefix("batch of ")
    return running.server.batch(running.key, *[{"type": type} | GOOD] * 3, {"type": type} | event), "events[3]."


def short(value: object) -> str:
    return repr(value)[:24]


ALL = ["pageview", "custom", "batch of pageview", "batch of custom"]
WITH_NAME = ["custom", "batch of custom"]
# fmt: off
INVALID_VALUES: dict[str, list[Any]] = {
    "url": [
        ..., None, "", 5, True, [], {}, "/pricing", "example.com/pricing", "//example.com/", "https://", "http:///x",
        "https://e.com:99999/", "https://e.com:x/", "https://[::1/", "https://e .com/", " https://e.com/",
        "https://e.com/\n", "https://e.com/\0", "https://e.com/" + TOO_LONG,
    ],
    "referrer": [5, False, [], {}, "google", "/search", "https://", "https://e.com:99999/", "app://" + TOO_LONG],
    "user_agent": [5, True, [], {}, TOO_LONG],
    "ip_address": [
        5, [], {}, "localhost", "203.0.113", "203.0.113.256", "203.0.113.42 ", "203.0.113.0/24", "203.0.113.42:80",
        "203.0.113.42\0", "2001:db8::g", "[::1]", TOO_LONG,
    ],
    "timestamp": [
        True, [], {}, "", "yesterday", "2025-13-01T00:00:00Z", "2025-01-15T25:00:00Z", "1736937000", TOO_LONG,
        1_736_937_000, 0, -1, 1.5, 1e300, -1e300, 10**70, -(10**70), YEAR_3000_MS,
    ],
}
# fmt: on


@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in INVALID_VALUES for value in INVALID_VALUES[field]], ids=short
)
def test_an_invalid_field_is_named_in_the_error(running: RunningSite, how: str, field: str, value: object) -> None:
    response, prefix = send(running, how, {field: value})
    assert response.error == (400, "invalid_request", prefix + field)


@pytest.mark.parametrize("how", WITH_NAME)
@pytest.mark.parametrize("value", [..., None, "", 5, [], {}, TOO_LONG])
def test_an_invalid_event_name_is_refused(running: RunningSite, how: str, value: object) -> None:
    response, prefix = send(running, how, {"event_name": value})
    assert response.error == (400, "invalid_request", f"{prefix}event_name")


def test_the_maximum_length_of_a_field_is_in_bytes(running: RunningSite) -> None:
    assert running.server.custom(running.key, event_name="é" * 2048).status == 201
    assert running.server.custom(running.key, event_name="é" * 2049).error == (400, "invalid_request", "event_name")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("pageview", b'{"site_id": "my-site", "url": "app://a", "timestamp": 1e999}', "timestamp"),
        (
            "batch",
            b'{"site_id": "my-site", "events": [{"type": "pageview", "url": "app://a", "timestamp": -1e999}]}',
            "events[0].timestamp",
        ),
    ],
    ids=["alone", "in a batch"],
)
def test_an_out_of_range_number_is_refused_with_the_field_named(
    running: RunningSite, path: str, body: bytes, field: str
) -> None:
    assert running.server.send(EVENTS + path, body, running.key).error == (400, "invalid_request", field)


@pytest.mark.parametrize("path", ["pageview", "custom", "batch"])
@pytest.mark.parametrize("site", [..., None, "", 5, [], {}, TOO_LONG])
def test_an_invalid_site_id_is_refused(running: RunningSite, path: str, site: object) -> None:
    body = GOOD | {"events": [{"type": "pageview"} | GOOD]} | ({} if site is ... else {"site_id": site})
    assert running.server.send(EVENTS + path, body, running.key).error == (400, "invalid_request", "site_id")


EVENT = {"type": "pageview"} | GOOD


@pytest.mark.parametrize(
    ("events", "field"),
    [
        (..., "events"),
        (None, "events"),
        ([], "events"),
        ({}, "events"),
        ("pageview", "events"),
        ([EVENT] * 1001, "events"),
        ([EVENT, 5], "events[1]"),
        ([EVENT, None], "events[1]"),
        ([EVENT, []], "events[1]"),
        ([EVENT, GOOD], "events[1].type"),
        ([EVENT, EVENT | {"type": None}], "events[1].type"),
        ([EVENT, EVENT | {"type": 5}], "events[1].type"),
        ([EVENT, EVENT | {"type": "click"}], "events[1].type"),
        ([EVENT] * 999 + [EVENT | {"url": "no"}], "events[999].url"),
        ([EVENT, EVENT | {"url": "no"}, EVENT | {"url": "no"}], "events[1].url"),
    ],
)
def test_an_invalid_batch_is_refused_with_the_path_of_the_error(
    running: RunningSite, events: object, field: str
) -> None:
    body = {"site_id": "my-site"} | ({} if events is ... else {"events": events})
    assert running.server.send(EVENTS + "batch", body, running.key).error == (400, "invalid_request", field)


INVALID_PROPS: dict[str, Any] = {
    "eleven": {f"p{number}": number for number in range(11)},
    "a key of 51 characters": {"k" * 51: 1},
    "a list": {"a": []},
    "an object": {"a": {}},
    "null": {"a": None},
    "2,001 characters": {"a": "x" * 2001},
    "65 bits": {"a": 2**64},
    "64 bits and no sign": {"a": 2**63},
    "below the minimum": {"a": -(2**63) - 1},
    "70 digits": {"a": 10**70},
    "a list instead of an object": [1],
    "a string instead of an object": "plan",
    "a number instead of an object": 5,
    "true instead of an object": True,
}


@pytest.mark.parametrize("how", WITH_NAME)
@pytest.mark.parametrize("what", INVALID_PROPS)
def test_invalid_props_are_refused(running: RunningSite, how: str, what: str) -> None:
    response, prefix = send(running, how, {"props": INVALID_PROPS[what]})
    assert response.error == (400, "invalid_props", f"{prefix}props")


@pytest.mark.parametrize("how", ["pageview", "batch of pageview"])
def test_props_of_a_pageview_are_ignored(running: RunningSite, how: str) -> None:
    assert send(running, how, {"props": [1]})[0].status == 201


def test_a_timestamp_in_seconds_is_refused_with_a_hint(running: RunningSite) -> None:
    assert "milliseconds" in running.server.pageview(running.key, timestamp=1_736_937_000).json["error"]["message"]


@pytest.mark.parametrize("changes", [{"url": "no"}, {"props": [1]}, {"event_name": None}, {"timestamp": YEAR_3000_MS}])
def test_a_batch_with_one_invalid_event_stores_nothing(running: RunningSite, changes: Fields) -> None:
    good = {"type": "custom", "event_name": "never", "url": "app://a"}
    assert running.server.batch(running.key, good, good | changes, good).status == 400
    assert "never" not in {event["name"] for event in running.store.events()}


NOW_MS = 1_763_000_000_000


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2025, 11, 13)),
    st.integers(-14 * 60, 14 * 60),
)
def test_iso_8601_times_are_parsed_to_the_millisecond(moment: datetime, offset_minutes: int) -> None:
    moment = moment.replace(
        microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=offset_minutes))
    )
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert fields.timestamp(moment.isoformat(), NOW_MS, "t") == expected


@given(st.integers(100_000_000_000, NOW_MS + 24 * HOUR_MS))
def test_unix_milliseconds_are_accepted_unchanged(timestamp_ms: int) -> None:
    assert fields.timestamp(float(timestamp_ms), NOW_MS, "t") == timestamp_ms


@pytest.mark.parametrize(("ahead_ms", "accepted"), [(24 * HOUR_MS, True), (24 * HOUR_MS + 1, False)])
def test_a_time_may_be_up_to_24_hours_ahead(ahead_ms: int, accepted: bool) -> None:
    if accepted:
        assert fields.timestamp(NOW_MS + ahead_ms, NOW_MS, "t") == NOW_MS + ahead_ms
    else:
        with pytest.raises(ApiError, match="24 hours"):
            fields.timestamp(NOW_MS + ahead_ms, NOW_MS, "t")


@given(st.one_of(st.ip_addresses(), st.text("0123456789abcdef:.%/[] ", max_size=20), st.text(max_size=20)))
def test_an_address_is_accepted_if_it_is_valid(value: IPv4Address | IPv6Address | str) -> None:
    try:
        address = fields.address(str(value), "ip")
    except ApiError:
        assert isinstance(value, str)
    else:
        assert not address or ip_address(address)


URL_TEXT = st.text("abcXYZ019-._~%/@:", max_size=8)


@given(st.sampled_from(["https", "app", "x-y+z.1"]), URL_TEXT.map(lambda text: quote(text, "")), URL_TEXT, URL_TEXT)
def test_only_scheme_host_and_path_of_a_url_are_stored(scheme: str, user: str, path: str, rest: str) -> None:
    url = f"{scheme}://{user}:{user}@Shop.Example.com:8443/{path}?q={quote(rest, '')}#{rest}"
    assert fields.url(url, "url") == (PageUrl(scheme, "shop.example.com", "/" + path), Campaign())
    assert fields.referrer(url, "referrer") == "shop.example.com/" + path


@given(st.one_of(st.text(), st.text().map("https://".__add__), st.text(":/[]?#@%.\0 \\a", max_size=12)))
def test_any_text_is_parsed_as_a_url_or_refused(text: str) -> None:
    for parse in (fields.url, fields.referrer):
        with suppress(ApiError):
            parse(text, "url")
