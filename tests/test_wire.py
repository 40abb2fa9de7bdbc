"""Parsing and validation of request bodies: one shape of errors and one order of checks."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ovx_lite.dialects import ENDPOINTS
from ovx_lite.dialects.schema import RawRequest, decode_body
from ovx_lite.domain.errors import ApiError
from tests.conftest import Response, RunningSite

EVENTS = "/api/v1/events/"
KIB = 1024
LIMITS = {"pageview": 64 * KIB, "custom": 64 * KIB, "batch": 5 * KIB * KIB}
ITEM = {"event_name": "signup", "url": "app://a", "props": {"plan": "pro"}}


def document(path: str, site: str = "my-site", **fields: object) -> bytes:
    """Return a valid body for an endpoint; `fields` override those of its event."""
    body = {"events": [{"type": "custom"} | ITEM | fields]} if path == "batch" else ITEM | fields
    return json.dumps({"site_id": site} | body).encode()


def assert_error(response: Response, status: int, code: str) -> None:
    """Check that a response is an error of the documented shape."""
    error = response.json["error"]
    assert (response.status, error["code"]) == (status, code)
    assert response.headers["content-type"] == "application/json"
    assert set(response.json) == {"error"}
    assert set(error) - {"field"} == {"code", "message"}
    assert all(isinstance(value, str) and value for value in error.values())


@pytest.mark.parametrize("path", ["pageview", "custom", "batch"])
@pytest.mark.parametrize(
    ("status", "code", "key", "body"),
    [
        (400, "invalid_request", "", lambda path: b"not JSON"),
        (400, "invalid_request", "", lambda path: document(path, url="no")),
        (401, "unauthorized", "unknown", document),
        (404, "invalid_site_id", "", lambda path: document(path, "no-site")),
    ],
)
def test_every_error_has_the_same_shape(
    running: RunningSite, path: str, status: int, code: str, key: str, body: Callable[[str], bytes]
) -> None:
    assert_error(running.server.send(EVENTS + path, body(path), key or running.key), status, code)


@pytest.mark.parametrize("path", LIMITS)
def test_the_size_of_a_body_is_checked_before_anything_else(running: RunningSite, path: str) -> None:
    announced = {"Content-Length": str(LIMITS[path] + 1)}
    assert_error(running.server.send(EVENTS + path, b"", "unknown", announced), 413, "payload_too_large")


@pytest.mark.parametrize("path", ["custom", "batch"])
def test_an_error_in_props_has_the_same_shape(running: RunningSite, path: str) -> None:
    assert_error(running.server.send(EVENTS + path, document(path, props=[]), running.key), 400, "invalid_props")


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/events", "/api/v1/events/", "/api/v1/events/click", "/api/v1/events/pageview/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_404(running: RunningSite, method: str, path: str) -> None:
    assert_error(running.server.send(path, b"{}", running.key, method=method), 404, "not_found")


@pytest.mark.parametrize("path", ["pageview", "custom", "batch"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_a_wrong_method_is_405_with_an_allow_header(running: RunningSite, path: str, method: str) -> None:
    response = running.server.send(EVENTS + path, document(path), running.key, method=method)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_post_to_healthz_is_405(running: RunningSite) -> None:
    response = running.server.send("/healthz", b"{}")
    assert_error(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_healthz_returns_ok_and_the_version(running: RunningSite) -> None:
    response = running.server.send("/healthz", method="GET")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.json == {"status": "ok", "version": response.json["version"]}


@pytest.mark.parametrize("path", LIMITS)
def test_a_body_may_have_exactly_its_limit(running: RunningSite, path: str) -> None:
    body = document(path)
    assert running.server.send(EVENTS + path, body.ljust(LIMITS[path]), running.key).status == 201


@pytest.mark.parametrize("path", LIMITS)
def test_a_client_that_sends_a_whole_body_one_byte_too_large_gets_413(running: RunningSite, path: str) -> None:
    response = running.server.send(EVENTS + path, document(path).ljust(LIMITS[path] + 1), running.key)
    assert response.error == (413, "payload_too_large", None)


# Each row corrects one more error than the row above.
CHECK_ORDER: list[tuple[str, str, str, dict[str, Any]]] = [
    ("invalid_request", "unknown", "no-site", {"url": 5, "props": []}),  # and the JSON is truncated
    ("unauthorized", "unknown", "no-site", {"url": 5, "props": []}),
    ("invalid_request", "", "no-site", {"url": "no", "props": []}),
    ("invalid_site_id", "", "no-site", {"props": []}),
    ("invalid_props", "", "my-site", {"props": []}),
]


@pytest.mark.parametrize("path", ["custom", "batch"])
@pytest.mark.parametrize("step", range(len(CHECK_ORDER)))
def test_the_order_of_checks_is_json_credentials_fields_site_props(running: RunningSite, path: str, step: int) -> None:
    code, key, site, fields = CHECK_ORDER[step]
    body = document(path, site, **fields)
    if step == 0:
        body = body[:-1]
    assert running.server.send(EVENTS + path, body, key or running.key).error[1] == code


def test_an_invalid_field_is_reported_before_invalid_props_earlier_in_a_batch(running: RunningSite) -> None:
    item = {"type": "custom"} | ITEM
    response = running.server.batch(running.key, item | {"props": []}, item | {"url": "no"})
    assert response.error == (400, "invalid_request", "events[1].url")


def nested(depth: int, kind: str = "[]") -> str:
    opening, closing = ("[", "]") if kind == "[]" else ('{"a":', "}")
    return opening * (depth - 1) + kind + closing * (depth - 1)


@pytest.mark.parametrize("field", ["unknown", "props", "url"])
@pytest.mark.parametrize("kind", ["[]", "{}"])
@pytest.mark.parametrize("path", ["custom", "batch"])
def test_a_body_may_nest_up_to_16_levels(running: RunningSite, path: str, kind: str, field: str) -> None:
    outer_depth = 3 if path == "batch" else 1
    for depth in (16, 17, 5000):
        body = document(path, "my-site", **dict[str, Any]({field: 0})).replace(
            b'": 0', b'": ' + nested(depth - outer_depth, kind).encode()
        )
        response = running.server.send(EVENTS + path, body, running.key)
        if depth > 16:
            assert response.error == (400, "invalid_request", None)
            assert "deep" in response.json["error"]["message"]
        elif field == "unknown":
            assert response.status == 201
        else:
            assert response.error[2], "the error names a field"


def test_brackets_in_strings_do_not_nest(running: RunningSite) -> None:
    for text in ("[" * 1500, '{"a":[' * 200, '\\"[' * 300, '"' * 99 + "]" * 99):
        assert running.server.custom(running.key, event_name=text, props={"a": text}, unknown=text).status == 201


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


TEXT = st.text('[]{}"\\ab,:é\n', max_size=6)
JSON = st.recursive(
    st.one_of(TEXT, st.integers(-9, 9), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.lists(st.sampled_from(["list", "dict"]) | TEXT, max_size=20), st.booleans())
@example([], ["list"] * 15, False)
@example([], ["list"] * 16, False)
def test_parsing_accepts_up_to_16_levels(value: Any, wraps: list[str], escaped: bool) -> None:
    for wrap in wraps:
        value = [value, "]"] if wrap == "list" else {wrap: value}
    body = json.dumps(value, ensure_ascii=escaped).encode()
    decoder = msgspec.json.Decoder(Any)
    if depth(value) <= 16:
        assert decode_body(body, decoder) == value
    else:
        with pytest.raises(ApiError, match="too deep"):
            decode_body(body, decoder)


VALID_BODIES = [
    document("custom", timestamp="2025-01-15T10:30:00Z", ip_address="::1", user_agent="é\\"),
    document("custom", timestamp=1_736_937_000_000, referrer="https://a.b/c?d", props={"a": 1.5, "b": True}),
    document("batch"),
]
FRAGMENTS = [
    b"null",
    b"1e999",
    b"9" * 70,
    b"-1",
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xff",
    b"\0",
    b"[",
    b"}",
    b'"',
    b"{}",
    b",",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(VALID_BODIES))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(body)))
        end = draw(st.integers(begin, min(begin + 12, len(body))))
        body = body[:begin] + draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=3)) + body[end:]
    return body


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(), mutated(), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for endpoint in ENDPOINTS:
        try:
            request = endpoint.parse(RawRequest(body, 1_763_000_000_000, "my-site"))
        except ApiError:
            continue
        assert request.cost >= 1
        assert bool(request.problem) != bool(request.hits)
        assert request.problem or request.cost == len(request.hits)
