"""Apex's Events API: `POST /api/events`, a single event from a browser or a batch from a server (contract 5). Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ovx_lite.dialects import custom_props, fields
from ovx_lite.dialects.schema import (
    BATCH_BODY_LIMIT_BYTES,
    SINGLE_BODY_LIMIT_BYTES,
    Endpoint,
    InvalidDocument,
    Link,
    ParsedRequest,
    RawRequest,
    Required,
    Text,
    collect_hits,
    decode_body,
)
from ovx_lite.dialects.validation import MAX_BATCH_EVENTS
from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.domain.models import Hit, Identity, Reply

ANONYMOUS = "anonymous"
"""The `visitorId` of those who are not to be told apart by a name; they are by a hash for the day, as elsewhere."""

_EVENT_TYPES = {"pageview", "click", "form_submit"}


class Snippet(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A single event ("Snippet Format"); beyond the document, `sessionId` and `userId`."""

    type: Required
    visitor_id: Required
    project_key: Required
    url: Required
    data: custom_props.FreeProps = msgspec.field(default_factory=msgspec.Raw)
    referrer: Link | None = None
    timestamp: Text | None = None
    session_id: Text | None = None
    user_id: Text | None = None


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch; beyond the document, `referrer`."""

    type: Required
    url: Required
    data: custom_props.FreeProps = msgspec.field(default_factory=msgspec.Raw)
    referrer: Link | None = None
    timestamp: Text | None = None


class Batch(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Several events ("Batch Format"); beyond the document, `visitorId` and `sessionId`."""

    project_key: Required
    events: Annotated[list[Item], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]
    user_id: Text | None = None
    visitor_id: Text | None = None
    session_id: Text | None = None


class Received(msgspec.Struct, frozen=True):
    """The answer."""

    received: int


class _FormatProbe(msgspec.Struct, gc=False):
    """Enough of a body to see which of the two it is."""

    events: msgspec.Raw = msgspec.Raw()


_snippet_decoder = msgspec.json.Decoder(Snippet)
_batch_decoder = msgspec.json.Decoder(Batch)
_probe_decoder = msgspec.json.Decoder(_FormatProbe)
_encode = msgspec.json.Encoder().encode


def parse_request(request: RawRequest) -> ParsedRequest:
    """The body of either format → an ask of its hits. Raises `ApiError` if it is not JSON, or too long for one event.

    "A single batch request counts as one request against rate limits regardless of array size." How many events it has
    counts only where a site has a limit in events.
    """
    if _is_batch(request.body):
        return _parse_batch(request)
    if len(request.body) > SINGLE_BODY_LIMIT_BYTES:
        raise ApiError("payload_too_large", "The body is too large: at most 64 KiB are taken of a single event.")
    payload = decode_body(request.body, _snippet_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("projectKey"), 1, problem=payload.problem)
    try:
        return ParsedRequest(payload.project_key, 1, [_hit(payload, payload, request)])
    except ApiError as exc:
        return ParsedRequest(payload.project_key, 1, problem=detached(exc))


def _is_batch(body: bytes) -> bool:
    if b'"events"' not in body and b"\\u" not in body:
        return False
    try:
        return bytes(_probe_decoder.decode(body).events) not in (b"", b"null")
    except (msgspec.DecodeError, RecursionError):
        return False  # whoever reads it next says what is wrong


def _parse_batch(request: RawRequest) -> ParsedRequest:
    payload = decode_body(request.body, _batch_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("projectKey"), payload.event_count(), problem=payload.problem)
    hits, problem = collect_hits(payload.events, lambda item: _hit(item, payload, request))
    return ParsedRequest(payload.project_key, len(payload.events), hits, problem, url_field="events[{}].url")


def _hit(event: Snippet | Item, sender: Snippet | Batch, request: RawRequest) -> Hit:
    page, campaign = fields.url_or_path(event.url, "url")
    return Hit(
        event.type if event.type in _EVENT_TYPES else "event",
        event.type,
        fields.timestamp(event.timestamp, request.received_at_ms, "timestamp", "ISO 8601"),
        page,
        campaign,
        fields.referrer(event.referrer, "referrer"),
        request.address,
        request.user_agent,
        custom_props.encode_props(custom_props.parse_props(event.data, "data")),
        "" if sender.visitor_id is None or sender.visitor_id == ANONYMOUS else sender.visitor_id,
        sender.session_id or "",
        Identity(sender.user_id) if sender.user_id else None,
    )


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(200, _encode(Received(len(event_ids))))


ENDPOINTS = (
    Endpoint(
        "apex",
        "/api/events",
        "Track an event from a browser, or up to 1,000 from a server, all or nothing",
        BATCH_BODY_LIMIT_BYTES,
        parse_request,
        (Batch, Snippet),
        _build_response,
        200,
        Received,
        site_field="projectKey",
        public=True,
    ),
)
