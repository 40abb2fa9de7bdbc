"""Ovyxa's Events API: `POST /api/v1/events/pageview`, `…/custom`, and the addition `…/batch`. Pure.

See docs/api/ovyxa.md.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ovx_lite.dialects import fields
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
    Url,
    collect_hits,
    decode_body,
)
from ovx_lite.dialects.validation import MAX_BATCH_EVENTS
from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.domain.models import Hit, Reply

_RawProps = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "type": ["object", "null"],
            "maxProperties": 10,
            "propertyNames": {"maxLength": 50},
            "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 2000},
        }
    ),
]


class Pageview(msgspec.Struct, frozen=True, gc=False):
    """A pageview (Ovyxa, Events API, POST /events/pageview). `timestamp` is an addition of ovx-lite."""

    site_id: Required
    url: Url
    referrer: Link | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None


class Custom(msgspec.Struct, frozen=True, gc=False):
    """A custom event (Ovyxa, Events API, POST /events/custom). `timestamp` is an addition of ovx-lite."""

    site_id: Required
    event_name: Required
    url: Url
    referrer: Link | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None
    props: _RawProps = msgspec.field(default_factory=msgspec.Raw)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch: a pageview or a custom event, with the fields of a single one.

    `event_name` is required for custom events. `site_id` may be omitted; otherwise it must be the batch's.
    """

    type: Literal["pageview", "custom"]
    url: Url
    site_id: Text | None = None
    event_name: Required | None = None
    referrer: Link | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None
    props: _RawProps = msgspec.field(default_factory=msgspec.Raw)


class Accepted(msgspec.Struct, frozen=True):
    """The response to a single event, with its ID. IDs sort by time."""

    success: bool
    event_id: str


class AllAccepted(msgspec.Struct, frozen=True):
    """The response to a batch, with the IDs of its events in their order."""

    success: bool
    event_ids: list[str]


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Up to 1,000 events. Batches are an addition of ovx-lite."""

    site_id: Required
    events: Annotated[list[Item], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]


_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Props = Annotated[
    dict[Annotated[str, Meta(max_length=50)], Annotated[str, Meta(max_length=2000)] | _Integer | float | bool],
    Meta(max_length=10),
]

_pageview_decoder = msgspec.json.Decoder(Pageview)
_custom_decoder = msgspec.json.Decoder(Custom)
_batch_decoder = msgspec.json.Decoder(Batch)
_props_decoder = msgspec.json.Decoder(_Props)
_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


def parse_pageview(request: RawRequest) -> ParsedRequest:
    """Parse a pageview. Raises `ApiError` if the body is not JSON."""
    payload = decode_body(request.body, _pageview_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("site_id"), payload.event_count(), problem=payload.problem)
    try:
        return ParsedRequest(payload.site_id, 1, [_hit(payload, "pageview", "pageview", request.received_at_ms)])
    except ApiError as exc:
        return ParsedRequest(payload.site_id, 1, problem=detached(exc))


def parse_custom(request: RawRequest) -> ParsedRequest:
    """Parse a custom event. Raises `ApiError` if the body is not JSON."""
    payload = decode_body(request.body, _custom_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("site_id"), payload.event_count(), problem=payload.problem)
    try:
        hit = _hit(payload, "event", payload.event_name, request.received_at_ms, props=payload.props)
        return ParsedRequest(payload.site_id, 1, [hit])
    except ApiError as exc:
        return ParsedRequest(payload.site_id, 1, problem=detached(exc))


def parse_batch(request: RawRequest) -> ParsedRequest:
    """Parse a batch of up to 1,000 events. Raises `ApiError` if the body is not JSON."""
    payload = decode_body(request.body, _batch_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("site_id"), payload.event_count(), problem=payload.problem)
    hits, problem = collect_hits(payload.events, lambda item: _item_hit(item, payload.site_id, request.received_at_ms))
    return ParsedRequest(
        payload.site_id, cost=len(payload.events), hits=hits, problem=problem, url_field="events[{}].url"
    )


def _item_hit(item: Item, site_id: str, received_at_ms: int) -> Hit:
    if item.site_id and item.site_id != site_id:
        raise ApiError("invalid_request", "site_id differs from the batch's: send one batch per site.", "site_id")
    if item.type == "pageview":
        return _hit(item, "pageview", "pageview", received_at_ms)
    if item.event_name is None:
        raise ApiError("invalid_request", "Missing required field: event_name", "event_name")
    return _hit(item, "event", item.event_name, received_at_ms, props=item.props)


def _hit(
    payload: Pageview | Custom | Item, type: str, name: str, received_at_ms: int, props: bytes | None = None
) -> Hit:
    page, campaign = fields.url(payload.url, "url")
    return Hit(
        type=type,
        name=name,
        timestamp_ms=fields.timestamp(payload.timestamp, received_at_ms, "timestamp"),
        page=page,
        campaign=campaign,
        referrer=fields.referrer(payload.referrer, "referrer"),
        address=fields.address(payload.ip_address, "ip_address"),
        user_agent=payload.user_agent or "",
        props=_encode_props(props),
    )


def _encode_props(raw: bytes | None) -> str | None:
    """Validate custom properties (Ovyxa, Events API, Event Properties). Returns compact JSON, or None without any."""
    if not raw or raw == _NULL:
        return None
    try:
        props = _props_decoder.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        raise ApiError("invalid_props", _props_error(raw), "props") from None
    return _encode(props).decode() if props else None


def _props_error(raw: bytes) -> str:
    """Return the message about the first problem of invalid custom properties."""
    try:
        props = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return "props contains a number that is out of range: send numbers of at most 64 bits."
    if not isinstance(props, dict):
        return "props must be an object."
    if len(props) > 10:
        return f"props has {len(props)} properties: at most 10 are allowed."
    for key, value in props.items():
        if len(key) > 50:
            return f"props has a key of {len(key)} characters: at most 50 are allowed."
        if isinstance(value, str) and len(value) > 2000:
            return f"props.{key} has {len(value):,} characters: at most 2,000 are allowed."
        if isinstance(value, list | dict) or value is None:
            return f"props.{key} must be a string, a number or a boolean."
    return "props contains an integer of more than 64 bits: send it as a string."


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(201, _encode(Accepted(True, event_ids[0])))


def _build_batch_response(event_ids: list[str]) -> Reply:
    return Reply(201, _encode(AllAccepted(True, event_ids)))


ENDPOINTS = (
    Endpoint(
        api="ovyxa",
        path="/api/v1/events/pageview",
        summary="Track a pageview",
        body_limit_bytes=SINGLE_BODY_LIMIT_BYTES,
        parse=parse_pageview,
        request_types=(Pageview,),
        build_response=_build_response,
        status=201,
        response_type=Accepted,
    ),
    Endpoint(
        api="ovyxa",
        path="/api/v1/events/custom",
        summary="Track a custom event",
        body_limit_bytes=SINGLE_BODY_LIMIT_BYTES,
        parse=parse_custom,
        request_types=(Custom,),
        build_response=_build_response,
        status=201,
        response_type=Accepted,
    ),
    Endpoint(
        api="ovyxa",
        path="/api/v1/events/batch",
        summary="Track up to 1,000 events, all or nothing",
        body_limit_bytes=BATCH_BODY_LIMIT_BYTES,
        parse=parse_batch,
        request_types=(Batch,),
        build_response=_build_batch_response,
        status=201,
        response_type=AllAccepted,
    ),
)
