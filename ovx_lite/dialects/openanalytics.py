"""OpenAnalytics' server-side API: `POST /v1/projects/{PROJECT_ID}/events` and `…/events/batch`. Pure.

See docs/api/openanalytics.md.
"""

from typing import Annotated, Literal

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
    Text,
    collect_hits,
    decode_body,
)
from ovx_lite.dialects.validation import MAX_BATCH_EVENTS
from ovx_lite.domain import money
from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.domain.models import Campaign, Hit, Identity, PageUrl, Reply


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event (OpenAnalytics, Server-side tracking, Event payload).

    `event_name` is required for `event` and `conversion`, `user_id` for `identify`, and `currency` with `revenue`.
    """

    event_type: Literal["pageview", "event", "identify", "conversion"]
    event_name: Text | None = None
    user_id: Text | None = None
    url: Link | None = None
    properties: custom_props.FreeProps = msgspec.field(default_factory=msgspec.Raw)
    revenue: money.Amount = msgspec.field(default_factory=msgspec.Raw)
    currency: Text | None = None
    timestamp: float | None = None


Events = Annotated[list[Event], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Up to 1,000 events."""

    events: Events


class Queued(msgspec.Struct, frozen=True):
    """The response to a single event. `queued` is OpenAnalytics' word: the event is already stored on disk."""

    queued: bool


class AllQueued(msgspec.Struct, frozen=True):
    """The response to a batch. `queued` is OpenAnalytics' word: the events are already stored on disk."""

    queued: bool
    count: int


_event_decoder = msgspec.json.Decoder(Event)
_batch_decoder = msgspec.json.Decoder(Batch)
_array_decoder: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(Events)
_encode = msgspec.json.Encoder().encode


def parse_event(request: RawRequest) -> ParsedRequest:
    """Parse a single event. Raises `ApiError` if the body is not JSON."""
    payload = decode_body(request.body, _event_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(request.site_ref, 1, problem=payload.problem)
    try:
        return ParsedRequest(request.site_ref, 1, [_hit(payload, request.received_at_ms)])
    except ApiError as exc:
        return ParsedRequest(request.site_ref, 1, problem=detached(exc))


def parse_batch(request: RawRequest) -> ParsedRequest:
    """Parse a batch, `{"events": […]}` or the array alone. Each event counts against the rate limit.

    Raises `ApiError` if the body is not JSON.
    """
    if request.body.lstrip()[:1] == b"[":
        array = decode_body(request.body, _array_decoder)
        if isinstance(array, InvalidDocument):
            return ParsedRequest(request.site_ref, array.event_count(), problem=array.problem)
        hits, problem = collect_hits(array, lambda event: _hit(event, request.received_at_ms), path="")
        return ParsedRequest(request.site_ref, cost=len(array), hits=hits, problem=problem)
    payload = decode_body(request.body, _batch_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(request.site_ref, payload.event_count(), problem=payload.problem)
    hits, problem = collect_hits(payload.events, lambda event: _hit(event, request.received_at_ms))
    return ParsedRequest(request.site_ref, cost=len(payload.events), hits=hits, problem=problem)


def _hit(event: Event, received_at_ms: int) -> Hit:
    page, campaign = fields.url(event.url, "url") if event.url else (PageUrl("", "", ""), Campaign())
    timestamp_ms = fields.timestamp(event.timestamp, received_at_ms, "timestamp")
    name = _name(event)
    revenue_minor, currency = _revenue(event)
    properties = custom_props.parse_props(event.properties, "properties")
    traits = properties if event.event_type == "identify" else {}
    return Hit(
        type=event.event_type,
        name=name,
        timestamp_ms=timestamp_ms,
        page=page,
        campaign=campaign,
        props=None if traits else custom_props.encode_props(properties),
        identity=Identity(event.user_id, traits) if event.user_id else None,
        revenue_minor=revenue_minor,
        currency=currency,
    )


def _name(event: Event) -> str:
    if event.event_type in ("event", "conversion"):
        if not event.event_name:
            message = f"Missing required field: event_name (required with event_type {event.event_type})."
            raise ApiError("invalid_request", message, "event_name")
        return event.event_name
    if event.event_type == "identify" and not event.user_id:
        message = "Missing required field: user_id (required with event_type identify)."
        raise ApiError("invalid_request", message, "user_id")
    return event.event_type


def _revenue(event: Event) -> tuple[int | None, str]:
    """Return the revenue in minor units, and its currency, which is required with revenue."""
    currency = money.parse_currency(event.currency, "currency") if event.currency else ""
    amount = money.parse_amount(event.revenue, "revenue")
    if amount is None:
        return None, ""
    if not currency:
        raise ApiError("invalid_request", "Missing required field: currency (required with revenue).", "currency")
    return money.to_minor(amount, currency, "revenue"), currency


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(Queued(True)))


def _build_batch_response(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(AllQueued(True, len(event_ids))))


ENDPOINTS = (
    Endpoint(
        api="openanalytics",
        path="/v1/projects/{PROJECT_ID}/events",
        summary="Track an event",
        body_limit_bytes=SINGLE_BODY_LIMIT_BYTES,
        parse=parse_event,
        request_types=(Event,),
        build_response=_build_response,
        status=202,
        response_type=Queued,
        site_field=None,
    ),
    Endpoint(
        api="openanalytics",
        path="/v1/projects/{PROJECT_ID}/events/batch",
        summary="Track up to 1,000 events, all or nothing",
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
        parse=parse_batch,
        request_types=(Batch, Events),
        build_response=_build_batch_response,
        status=202,
        response_type=AllQueued,
        site_field=None,
    ),
)
