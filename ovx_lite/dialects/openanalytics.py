"""OpenAnalytics' server-side API: `POST /v1/projects/{PROJECT_ID}/events` and `…/events/batch` (contract 6). Pure."""

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
    """What happened ("Event payload")."""

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
    """Several events."""

    events: Events


class Queued(msgspec.Struct, frozen=True):
    """The answer to a single event."""

    queued: bool


class AllQueued(msgspec.Struct, frozen=True):
    """The answer to a batch."""

    queued: bool
    count: int


_event_decoder = msgspec.json.Decoder(Event)
_batch_decoder = msgspec.json.Decoder(Batch)
_array_decoder: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(Events)
_encode = msgspec.json.Encoder().encode


def parse_event(request: RawRequest) -> ParsedRequest:
    """The body of an event → an ask of one hit. Raises `ApiError` if it is not JSON."""
    payload = decode_body(request.body, _event_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(request.site_ref, 1, problem=payload.problem)
    try:
        return ParsedRequest(request.site_ref, 1, [_hit(payload, request.received_at_ms)])
    except ApiError as exc:
        return ParsedRequest(request.site_ref, 1, problem=detached(exc))


def parse_batch(request: RawRequest) -> ParsedRequest:
    """The body of a batch, `{"events": […]}` or the array alone → an ask of up to 1,000 hits, each of which counts.

    Raises `ApiError` if it is not JSON.
    """
    if request.body.lstrip()[:1] == b"[":
        array = decode_body(request.body, _array_decoder)
        if isinstance(array, InvalidDocument):
            return ParsedRequest(request.site_ref, array.event_count(), problem=array.problem)
        hits, problem = collect_hits(array, lambda event: _hit(event, request.received_at_ms), path="")
        return ParsedRequest(request.site_ref, len(array), hits, problem)
    payload = decode_body(request.body, _batch_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(request.site_ref, payload.event_count(), problem=payload.problem)
    hits, problem = collect_hits(payload.events, lambda event: _hit(event, request.received_at_ms))
    return ParsedRequest(request.site_ref, len(payload.events), hits, problem)


def _hit(event: Event, received_at_ms: int) -> Hit:
    page, campaign = fields.url(event.url, "url") if event.url else (PageUrl("", "", ""), Campaign())
    timestamp_ms = fields.timestamp(event.timestamp, received_at_ms, "timestamp")
    name = _name(event)
    revenue_minor, currency = _revenue(event)
    properties = custom_props.parse_props(event.properties, "properties")
    traits = properties if event.event_type == "identify" else {}
    return Hit(
        event.event_type,
        name,
        timestamp_ms,
        page,
        campaign,
        props=None if traits else custom_props.encode_props(properties),
        identity=Identity(event.user_id, traits) if event.user_id else None,
        revenue_minor=revenue_minor,
        currency=currency,
    )


def _name(event: Event) -> str:
    if event.event_type in ("event", "conversion"):
        if not event.event_name:
            message = f"Missing required field: event_name, since event_type is {event.event_type}."
            raise ApiError("invalid_request", message, "event_name")
        return event.event_name
    if event.event_type == "identify" and not event.user_id:
        raise ApiError("invalid_request", "Missing required field: user_id, since event_type is identify.", "user_id")
    return event.event_type


def _revenue(event: Event) -> tuple[int | None, str]:
    """Revenue in minor units, and its currency, which is "required with `revenue`" (contract 6)."""
    currency = money.parse_currency(event.currency, "currency") if event.currency else ""
    amount = money.parse_amount(event.revenue, "revenue")
    if amount is None:
        return None, ""
    if not currency:
        raise ApiError("invalid_request", "Missing required field: currency, since there is revenue.", "currency")
    return money.to_minor(amount, currency, "revenue"), currency


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(Queued(True)))


def _build_batch_response(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(AllQueued(True, len(event_ids))))


ENDPOINTS = (
    Endpoint(
        "openanalytics",
        "/v1/projects/{PROJECT_ID}/events",
        "Track an event",
        SINGLE_BODY_LIMIT_BYTES,
        parse_event,
        (Event,),
        _build_response,
        202,
        Queued,
        site_field=None,
    ),
    Endpoint(
        "openanalytics",
        "/v1/projects/{PROJECT_ID}/events/batch",
        "Track up to 1,000 events, all or nothing",
        BATCH_BODY_LIMIT_BYTES,
        parse_batch,
        (Batch, Events),
        _build_batch_response,
        202,
        AllQueued,
        site_field=None,
    ),
)
