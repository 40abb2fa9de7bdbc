"""Ovyxa's Events API: `POST /api/v1/events/pageview`, `…/custom`, and our own `…/batch` (contract 3). Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ovx_lite import fields
from ovx_lite.errors import Refused
from ovx_lite.model import Hit, Reply
from ovx_lite.wire import BATCH_EVENTS, BATCH_LIMIT, SINGLE_LIMIT, Ask, Endpoint, Faulty, Required, Text, parse


class Pageview(msgspec.Struct, frozen=True, gc=False):
    """The body of `POST /api/v1/events/pageview`."""

    site_id: Required
    url: Required
    referrer: Text | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None


class Custom(msgspec.Struct, frozen=True, gc=False):
    """The body of `POST /api/v1/events/custom`."""

    site_id: Required
    event_name: Required
    url: Required
    referrer: Text | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None
    props: msgspec.Raw = msgspec.Raw()


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch: a pageview or a custom event, with the same fields as alone."""

    type: Literal["pageview", "custom"]
    url: Required
    site_id: Text | None = None
    event_name: Required | None = None
    referrer: Text | None = None
    user_agent: Text | None = None
    ip_address: Text | None = None
    timestamp: float | Text | None = None
    props: msgspec.Raw = msgspec.Raw()


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The body of `POST /api/v1/events/batch`."""

    site_id: Required
    events: Annotated[list[Item], Meta(min_length=1, max_length=BATCH_EVENTS)]


_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Props = Annotated[
    dict[Annotated[str, Meta(max_length=50)], Annotated[str, Meta(max_length=2000)] | _Integer | float | bool],
    Meta(max_length=10),
]

_pageview = msgspec.json.Decoder(Pageview)
_custom = msgspec.json.Decoder(Custom)
_batch = msgspec.json.Decoder(Batch)
_props = msgspec.json.Decoder(_Props)
_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


def read_pageview(body: bytes, now: int) -> Ask:
    """The body of a pageview → an ask of one hit. Raises `Refused` if it is not JSON."""
    sent = parse(body, _pageview)
    if isinstance(sent, Faulty):
        return _refusal(sent)
    try:
        return Ask(sent.site_id, 1, [_hit(sent, "pageview", "pageview", now)])
    except Refused as problem:
        return Ask(sent.site_id, 1, problem=problem)


def read_custom(body: bytes, now: int) -> Ask:
    """The body of a custom event → an ask of one hit. Raises `Refused` if it is not JSON."""
    sent = parse(body, _custom)
    if isinstance(sent, Faulty):
        return _refusal(sent)
    try:
        return Ask(sent.site_id, 1, [_hit(sent, "event", sent.event_name, now, sent.props)])
    except Refused as problem:
        return Ask(sent.site_id, 1, problem=problem)


def read_batch(body: bytes, now: int) -> Ask:
    """The body of a batch → an ask of up to 1,000 hits. Raises `Refused` if it is not JSON."""
    sent = parse(body, _batch)
    if isinstance(sent, Faulty):
        return _refusal(sent)
    hits: list[Hit] = []
    props_problem = None
    for index, item in enumerate(sent.events):
        try:
            if item.site_id and item.site_id != sent.site_id:
                raise Refused("invalid_request", "site_id is not the batch's: send one batch per site.", "site_id")
            if item.type == "pageview":
                hits.append(_hit(item, "pageview", "pageview", now))
            elif item.event_name is None:
                raise Refused("invalid_request", f"Missing required field: events[{index}].event_name", "event_name")
            else:
                hits.append(_hit(item, "event", item.event_name, now, item.props))
        except Refused as problem:
            if problem.code != "invalid_props":
                return Ask(sent.site_id, len(sent.events), problem=problem.within(f"events[{index}]"))
            # Props are checked after fields: a wrong field further down is told first.
            props_problem = props_problem or problem.within(f"events[{index}]")
    return Ask(sent.site_id, len(sent.events), hits, props_problem)


def _hit(sent: Pageview | Custom | Item, type: str, name: str, now: int, props: bytes | None = None) -> Hit:
    page, campaign = fields.url(sent.url, "url")
    return Hit(
        type,
        name,
        fields.timestamp(sent.timestamp, now, "timestamp"),
        page,
        campaign,
        fields.referrer(sent.referrer, "referrer"),
        fields.address(sent.ip_address, "ip_address"),
        sent.user_agent or "",
        _checked_props(props),
    )


def _checked_props(raw: bytes | None) -> str | None:
    """Custom properties ("Event Properties", and contract 3) as compact JSON; None where there are none."""
    if not raw or raw == _NULL:
        return None
    try:
        props = _props.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        raise Refused("invalid_props", _wrong_with(raw), "props") from None
    return _encode(props).decode() if props else None


def _wrong_with(raw: bytes) -> str:
    """What is wrong with custom properties, and what would be right."""
    try:
        props = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return "props has a number that is beyond all bounds: send numbers of at most 64 bits."
    if not isinstance(props, dict):
        return "props must be an object."
    if len(props) > 10:
        return f"props has {len(props)} properties: at most 10 are taken."
    for key, value in props.items():
        if len(key) > 50:
            return f"props has a key of {len(key)} characters: at most 50 are taken."
        if isinstance(value, str) and len(value) > 2000:
            return f"props.{key} has {len(value):,} characters: at most 2,000 are taken."
        if isinstance(value, list | dict) or value is None:
            return f"props.{key} must be a string, a number or a boolean."
    return "props has an integer of more than 64 bits: send it as a string."


def _refusal(sent: Faulty) -> Ask:
    """What a body with a wrong field asks for: nothing, but it counts against the limit all the same."""
    document = sent.document if isinstance(sent.document, dict) else {}
    events = document.get("events")
    cost = min(max(len(events), 1), BATCH_EVENTS) if isinstance(events, list) else 1
    return Ask("", cost, problem=sent.problem)


def _reply_one(event_ids: list[str]) -> Reply:
    return Reply(201, b'{"success":true,"event_id":"%s"}' % event_ids[0].encode())


def _reply_batch(event_ids: list[str]) -> Reply:
    return Reply(201, _encode({"success": True, "event_ids": event_ids}))


ENDPOINTS = (
    Endpoint("ovyxa", "/api/v1/events/pageview", SINGLE_LIMIT, read_pageview, _reply_one),
    Endpoint("ovyxa", "/api/v1/events/custom", SINGLE_LIMIT, read_custom, _reply_one),
    Endpoint("ovyxa", "/api/v1/events/batch", BATCH_LIMIT, read_batch, _reply_batch),
)
