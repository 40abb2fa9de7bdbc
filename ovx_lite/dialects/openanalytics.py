"""OpenAnalytics' server-side API: `POST /v1/projects/{PROJECT_ID}/events` and `…/events/batch` (contract 6). Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ovx_lite.dialects import custom_props, fields
from ovx_lite.dialects.schema import BATCH_LIMIT, SINGLE_LIMIT, Ask, Call, Endpoint, Faulty, Link, Text, hits_of, parse
from ovx_lite.dialects.validation import BATCH_EVENTS
from ovx_lite.domain import money
from ovx_lite.domain.errors import Refused, detached
from ovx_lite.domain.models import Campaign, Hit, Identity, Page, Reply


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened ("Event payload")."""

    event_type: Literal["pageview", "event", "identify", "conversion"]
    event_name: Text | None = None
    user_id: Text | None = None
    url: Link | None = None
    properties: custom_props.Free = msgspec.field(default_factory=msgspec.Raw)
    revenue: money.Amount = msgspec.field(default_factory=msgspec.Raw)
    currency: Text | None = None
    timestamp: float | None = None


Events = Annotated[list[Event], Meta(min_length=1, max_length=BATCH_EVENTS)]


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


_event = msgspec.json.Decoder(Event)
_batch = msgspec.json.Decoder(Batch)
_array: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(Events)
_encode = msgspec.json.Encoder().encode


def read(call: Call) -> Ask:
    """The body of an event → an ask of one hit. Raises `Refused` if it is not JSON."""
    sent = parse(call.body, _event)
    if isinstance(sent, Faulty):
        return Ask(call.site, 1, problem=sent.problem)
    try:
        return Ask(call.site, 1, [_hit(sent, call.now)])
    except Refused as problem:
        return Ask(call.site, 1, problem=detached(problem))


def read_batch(call: Call) -> Ask:
    """The body of a batch, `{"events": […]}` or the array alone → an ask of up to 1,000 hits, each of which counts.

    Raises `Refused` if it is not JSON.
    """
    if call.body.lstrip()[:1] == b"[":
        array = parse(call.body, _array)
        if isinstance(array, Faulty):
            return Ask(call.site, array.events(), problem=array.problem)
        hits, problem = hits_of(array, lambda event: _hit(event, call.now), path="")
        return Ask(call.site, len(array), hits, problem)
    sent = parse(call.body, _batch)
    if isinstance(sent, Faulty):
        return Ask(call.site, sent.events(), problem=sent.problem)
    hits, problem = hits_of(sent.events, lambda event: _hit(event, call.now))
    return Ask(call.site, len(sent.events), hits, problem)


def _hit(event: Event, now: int) -> Hit:
    page, campaign = fields.url(event.url, "url") if event.url else (Page("", "", ""), Campaign())
    ts = fields.timestamp(event.timestamp, now, "timestamp")
    name = _name(event)
    revenue, currency = _revenue(event)
    told = custom_props.free(event.properties, "properties")
    traits = told if event.event_type == "identify" else {}
    return Hit(
        event.event_type,
        name,
        ts,
        page,
        campaign,
        props=None if traits else custom_props.text(told),
        person=Identity(event.user_id, traits) if event.user_id else None,
        revenue=revenue,
        currency=currency,
    )


def _name(event: Event) -> str:
    if event.event_type in ("event", "conversion"):
        if not event.event_name:
            message = f"Missing required field: event_name, since event_type is {event.event_type}."
            raise Refused("invalid_request", message, "event_name")
        return event.event_name
    if event.event_type == "identify" and not event.user_id:
        raise Refused("invalid_request", "Missing required field: user_id, since event_type is identify.", "user_id")
    return event.event_type


def _revenue(event: Event) -> tuple[int | None, str]:
    """Revenue in minor units, and its currency, which is "required with `revenue`" (contract 6)."""
    currency = money.currency(event.currency, "currency") if event.currency else ""
    amount = money.amount(event.revenue, "revenue")
    if amount is None:
        return None, ""
    if not currency:
        raise Refused("invalid_request", "Missing required field: currency, since there is revenue.", "currency")
    return money.minor(amount, currency, "revenue"), currency


def _reply(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(Queued(True)))


def _reply_batch(event_ids: list[str]) -> Reply:
    return Reply(202, _encode(AllQueued(True, len(event_ids))))


ENDPOINTS = (
    Endpoint(
        "openanalytics",
        "/v1/projects/{PROJECT_ID}/events",
        "Track an event",
        SINGLE_LIMIT,
        read,
        (Event,),
        _reply,
        202,
        Queued,
        site_field=None,
    ),
    Endpoint(
        "openanalytics",
        "/v1/projects/{PROJECT_ID}/events/batch",
        "Track up to 1,000 events, all or nothing",
        BATCH_LIMIT,
        read_batch,
        (Batch, Events),
        _reply_batch,
        202,
        AllQueued,
        site_field=None,
    ),
)
