"""Requests that are rejected, as bytes."""

import json
from collections.abc import Mapping
from typing import NamedTuple

BATCH = "/api/v1/events/batch"
EVENT = {"type": "custom", "event_name": "e", "url": "app://a"}
FORM_CONTENT_TYPE = "Content-Type: application/x-www-form-urlencoded"
SAME_ORIGIN = "Sec-Fetch-Site: same-origin"  # otherwise the form itself is rejected
HANG_UP, NO_RESPONSE = 0, -1


class RequestCase(NamedTuple):
    """A request as bytes and its expected status; the client hangs up after `sent_bytes`, if that is set."""

    request: bytes
    status: int
    sent_bytes: int | None = None


def request(path: str, body: bytes, key: str = "", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def document(fields: Mapping[str, object], size_bytes: int) -> bytes:
    """Return a JSON object of about this size, with these fields and an unknown one."""
    strings = ["y" * 4000] * (size_bytes // 4003)
    return json.dumps({**fields, "unknown": strings}, separators=(",", ":")).encode()


def refusals(key: str, limited_key: str, site_slug: str, size_bytes: int) -> dict[str, RequestCase]:
    """Return requests that every server rejects, with bodies of about this size."""
    batch = document({"site_id": site_slug, "events": [EVENT]}, size_bytes)
    two_events = document({"site_id": site_slug, "events": [EVENT, EVENT]}, size_bytes)
    used_key = "Idempotency-Key: used"

    def event_request(**fields: object) -> bytes:
        return request(BATCH, document({"site_id": site_slug, "events": [EVENT | fields]}, size_bytes), key)

    def apex_request(**fields: object) -> bytes:
        event = {"projectKey": site_slug, "events": [{"type": "click", "url": "/"}]} | fields
        return request("/api/events", document(event, size_bytes))

    deep = {"site_id": site_slug, "deep": json.loads("[" * 20 + "]" * 20)}
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (6 << 20, b"x" * (6 << 20))
    chunked = f"POST {BATCH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks
    projects = f"/v1/projects/{site_slug}/events/batch"
    return {
        "not JSON": RequestCase(request(BATCH, batch[:-1], key), 400),
        "not UTF-8": RequestCase(request(BATCH, batch[:-4] + b"\xff" + batch[-4:], key), 400),
        "too deep": RequestCase(request(BATCH, document(deep, size_bytes), key), 400),
        "NUL": RequestCase(event_request(event_name="a\0"), 400),
        "a field": RequestCase(event_request(url="no"), 400),
        "a field's type": RequestCase(event_request(type=5), 400),
        "an idempotency key": RequestCase(request(BATCH, batch, key, "Idempotency-Key: a b"), 400),
        "props": RequestCase(event_request(props=[]), 400),
        "OpenAnalytics": RequestCase(
            request(projects, document({"events": [{"event_type": "x"}]}, size_bytes), key), 400
        ),
        "OpenAnalytics' array": RequestCase(request(projects, b'[{"event_type":"event"},' + batch + b"]", key), 400),
        "Apex": RequestCase(apex_request(events=[{"type": "click", "url": ""}]), 400),
        "no key": RequestCase(request(BATCH, batch, "unknown"), 401),
        "no JWT": RequestCase(request(BATCH, batch, "a.b.c"), 401),
        "no such site": RequestCase(request(BATCH, batch.replace(site_slug.encode(), b"nowhere", 1), key), 404),
        "no such project": RequestCase(apex_request(projectKey="nowhere"), 404),
        "no such path": RequestCase(request("/nowhere", batch, key), 404),
        "a method": RequestCase(request(BATCH, batch, key, method="PUT"), 405),
        "a conflict": RequestCase(request(BATCH, batch.replace(b"app://a", b"app://b"), key, used_key), 409),
        "too large": RequestCase(request(BATCH, b"x" * (6 << 20), key), 413),
        "too large in chunks": RequestCase(chunked, 413),
        "the limit": RequestCase(request(BATCH, two_events, limited_key), 429),
        "the limit, perhaps a repeat": RequestCase(
            request(BATCH, two_events, limited_key, "Idempotency-Key: new"), 429
        ),
        "broken off": RequestCase(request(BATCH, batch, key), HANG_UP, len(batch) * 3 // 4),
    }


def small_refusals(key: str) -> dict[str, RequestCase]:
    """Return requests that every server rejects, for endpoints that accept only small bodies."""
    event = {"name": "$purchase", "project_id": "my-site", "device_id": "d", "session_id": "s", "context": "website"}
    overcentric = {"event": event | {"properties": {"amount": "x"}}}
    custom = {"site_id": "my-site", "event_name": "e", "url": "app://a", "props": []}
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "all"}
    pattern = ["matches", "event:page", ["("]]
    query_path = "/api/v2/query"
    return {
        "Ovyxa": RequestCase(request("/api/v1/events/custom", document(custom, 9000), key), 400),
        "Overcentric's amount": RequestCase(request("/api/v1/event", document(overcentric, 9000)), 400),
        "Overcentric's context": RequestCase(
            request("/api/v1/event", document({"event": event | {"context": "x"}}, 9000)),
            400,
        ),
        "OpenAnalytics' name": RequestCase(
            request("/v1/projects/my-site/events", document({"event_type": "event"}, 9000), key), 400
        ),
        "a query's metric": RequestCase(request(query_path, document(query | {"metrics": ["x"]}, 300_000), key), 400),
        "a query's pattern": RequestCase(request(query_path, document(query | {"filters": [pattern]}, 9000), key), 400),
        "a query that is not JSON": RequestCase(request(query_path, document(query, 9000)[:-1], key), 400),
        "a query without a key": RequestCase(request(query_path, document(query, 9000), "unknown"), 401),
        "a query of no site": RequestCase(
            request(query_path, document(query | {"site_id": "nowhere"}, 9000), key), 404
        ),
        "a query that is too large": RequestCase(request(query_path, b"x" * (2 << 20), key), 413),
        "a query broken off": RequestCase(request(query_path, document(query, 300_000), key), HANG_UP, 200_000),
        "no form": RequestCase(request("/login", b"x" * 9000, "", SAME_ORIGIN), 400),
        "a form that is not UTF-8": RequestCase(
            request("/login", b"a=%ff" * 999, "", FORM_CONTENT_TYPE, SAME_ORIGIN), 400
        ),
        "too many fields": RequestCase(request("/login", b"a=1&" * 999, "", FORM_CONTENT_TYPE, SAME_ORIGIN), 400),
        "a form that is too large": RequestCase(
            request("/login", b"a=" + b"x" * 99_999, "", FORM_CONTENT_TYPE, SAME_ORIGIN), 413
        ),
        "a form broken off": RequestCase(
            request("/login", b"a=" + b"x" * 50_000, "", FORM_CONTENT_TYPE, SAME_ORIGIN), HANG_UP, 20_000
        ),
        "a form of another page": RequestCase(
            request("/login", b"a=1", "", FORM_CONTENT_TYPE, "Sec-Fetch-Site: cross-site"), 403
        ),
        "a page without a session": RequestCase(
            request("/sites/my-site/settings/general", b"a=" * 9000, "", FORM_CONTENT_TYPE, SAME_ORIGIN), 401
        ),
        "no such share": RequestCase(request("/share/nowhere", b"a=" * 9000, "", FORM_CONTENT_TYPE, SAME_ORIGIN), 404),
        "no such page": RequestCase(request("/nowhere", b"a=" * 9000, "", "Accept: text/html"), 404),
        "no HTTP": RequestCase(b"POST / HTTP/1.1\r\nHost\r\n\r\n", 400),
        "a head broken off": RequestCase(b"POST / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 9000, HANG_UP, 9000),
    }
