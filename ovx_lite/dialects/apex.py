"""Apex's Events API: `POST /api/events`, for a single event or a batch (docs/api/apex.md). Pure."""

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
"""The `visitorId` that means: recognise this visitor by IP address and user agent, for one day."""

_EVENT_TYPES = {"pageview", "click", "form_submit"}


class Snippet(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A single event (Apex, Events API, Snippet Format). `sessionId` and `userId` are additions of ovx-lite."""

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
    """One event of a batch. `referrer` is an addition of ovx-lite."""

    type: Required
    url: Required
    data: custom_props.FreeProps = msgspec.field(default_factory=msgspec.Raw)
    referrer: Link | None = None
    timestamp: Text | None = None


class Batch(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Up to 1,000 events (Apex, Events API, Batch Format). `visitorId` and `sessionId` are additions of ovx-lite."""

    project_key: Required
    events: Annotated[list[Item], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]
    user_id: Text | None = None
    visitor_id: Text | None = None
    session_id: Text | None = None


class Received(msgspec.Struct, frozen=True):
    """The number of events that were stored."""

    received: int


class _FormatProbe(msgspec.Struct, gc=False):
    """The field that distinguishes a batch from a single event."""

    events: msgspec.Raw = msgspec.Raw()


_snippet_decoder = msgspec.json.Decoder(Snippet)
_batch_decoder = msgspec.json.Decoder(Batch)
_probe_decoder = msgspec.json.Decoder(_FormatProbe)
_encode = msgspec.json.Encoder().encode


def parse_request(request: RawRequest) -> ParsedRequest:
    """Parse a single event or a batch. Raises `ApiError` if it is not JSON, or too large for a single event.

    "A single batch request counts as one request against rate limits regardless of array size" (Apex, Events API, Tip).
    The number of its events counts only if the site has a limit in events.
    """
    if _is_batch(request.body):
        return _parse_batch(request)
    if len(request.body) > SINGLE_BODY_LIMIT_BYTES:
        raise ApiError("payload_too_large", "The body is too large: a single event may have at most 64 KiB.")
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
        return False  # the parser of single events reports the problem


def _parse_batch(request: RawRequest) -> ParsedRequest:
    payload = decode_body(request.body, _batch_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("projectKey"), payload.event_count(), problem=payload.problem)
    hits, problem = collect_hits(payload.events, lambda item: _hit(item, payload, request))
    return ParsedRequest(
        payload.project_key, cost=len(payload.events), hits=hits, problem=problem, url_field="events[{}].url"
    )


def _hit(event: Snippet | Item, sender: Snippet | Batch, request: RawRequest) -> Hit:
    page, campaign = fields.url_or_path(event.url, "url")
    return Hit(
        type=event.type if event.type in _EVENT_TYPES else "event",
        name=event.type,
        timestamp_ms=fields.timestamp(event.timestamp, request.received_at_ms, "timestamp", "ISO 8601"),
        page=page,
        campaign=campaign,
        referrer=fields.referrer(event.referrer, "referrer"),
        address=request.address,
        user_agent=request.user_agent,
        props=custom_props.encode_props(custom_props.parse_props(event.data, "data")),
        device_id="" if sender.visitor_id is None or sender.visitor_id == ANONYMOUS else sender.visitor_id,
        session_id=sender.session_id or "",
        identity=Identity(sender.user_id) if sender.user_id else None,
    )


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(200, _encode(Received(len(event_ids))))


ENDPOINTS = (
    Endpoint(
        api="apex",
        path="/api/events",
        summary="Track an event, or a batch of up to 1,000 events, all or nothing",
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
        parse=parse_request,
        request_types=(Batch, Snippet),
        build_response=_build_response,
        status=200,
        response_type=Received,
        site_field="projectKey",
        public=True,
    ),
)
