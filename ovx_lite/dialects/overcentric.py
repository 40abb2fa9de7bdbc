"""Overcentric's Event API: `POST /api/v1/event` (contract 4). Pure."""

from decimal import Decimal
from typing import Any, Literal

import msgspec

from ovx_lite import fields, money, props
from ovx_lite.errors import Refused
from ovx_lite.model import Campaign, Hit, Identity, Page, Reply
from ovx_lite.wire import SINGLE_LIMIT, Ask, Call, Endpoint, Faulty, Link, Required, Text, parse

_NO_PAYMENT = "$subscription_cancel"


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened ("Event Object Fields"), and beyond the document, when."""

    name: Required
    project_id: Required
    device_id: Required
    session_id: Required
    context: Literal["website", "product"]
    url: Link | None = None
    hostname: Text | None = None
    properties: props.Free = msgspec.field(default_factory=msgspec.Raw)
    timestamp: float | Text | None = None


class Person(msgspec.Struct, frozen=True, gc=False):
    """Whom it happened to ("Identity Object Fields")."""

    unique_identifier: Required
    project_id: Required
    email: Text | None = None
    name: Text | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    """The body of `POST /api/v1/event`."""

    event: Event
    identity: Person | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The answer."""

    success: bool
    event_id: str


class _Amount(msgspec.Struct, gc=False):
    amount: Decimal


class _Price(msgspec.Struct, gc=False):
    price: Decimal


_body = msgspec.json.Decoder(Body)
_amount = msgspec.json.Decoder(_Amount)
_price = msgspec.json.Decoder(_Price)
_encode = msgspec.json.Encoder().encode


def read(call: Call) -> Ask:
    """The body of an event → an ask of one hit. Raises `Refused` if it is not JSON."""
    sent = parse(call.body, _body)
    if isinstance(sent, Faulty):
        return Ask(sent.text("event", "project_id"), 1, problem=sent.problem)
    try:
        urls = "event.url" if sent.event.url else "event.hostname"
        return Ask(sent.event.project_id, 1, [_hit(sent.event, sent.identity, call)], urls=urls)
    except Refused as problem:
        return Ask(sent.event.project_id, 1, problem=problem)


def _hit(event: Event, identity: Person | None, call: Call) -> Hit:
    if identity is not None and identity.project_id != event.project_id:
        raise Refused(
            "invalid_request", "identity.project_id must be the same as event.project_id.", "identity.project_id"
        )
    page, campaign = _page(event)
    ts = fields.timestamp(event.timestamp, call.now, "event.timestamp")
    properties = props.free(event.properties, "event.properties")
    revenue, currency = _revenue(event, properties)
    return Hit(
        "event",
        event.name,
        ts,
        page,
        campaign,
        address=call.address,
        user_agent=call.user_agent,
        props=props.text(properties),
        device=event.device_id,
        session=event.session_id,
        person=None if identity is None else _identity(identity),
        context=event.context,
        revenue=revenue,
        currency=currency,
    )


def _page(event: Event) -> tuple[Page, Campaign]:
    host = fields.hostname(event.hostname, "event.hostname") if event.hostname else ""
    return fields.url(event.url, "event.url") if event.url else (Page("", host, ""), Campaign())


def _identity(sent: Person) -> Identity:
    told = {"email": sent.email, "name": sent.name}
    return Identity(sent.unique_identifier, {trait: value for trait, value in told.items() if value})


def _revenue(event: Event, properties: dict[str, Any]) -> tuple[int | None, str]:
    """The `amount` or `price` of a reserved event, whose name begins with `$`; one that ends a payment has none."""
    if not event.name.startswith("$") or event.name == _NO_PAYMENT:
        return None, ""
    name = next((name for name in ("amount", "price") if properties.get(name) is not None), None)
    if name is None:
        return None, ""
    field, told = f"event.properties.{name}", properties.get("currency")
    if not isinstance(told, str | None):
        raise Refused(
            "invalid_request", "event.properties.currency must be a string like EUR.", "event.properties.currency"
        )
    try:
        # Anew, and exactly: above, it was read as a binary float.
        raw = event.properties
        amount = _amount.decode(raw).amount if name == "amount" else _price.decode(raw).price
    except msgspec.ValidationError:
        message = f"{field} of {event.name} must be a number, or a string like 49.99."
        raise Refused("invalid_request", message, field) from None
    code = money.currency(told, "event.properties.currency") if told else money.UNTOLD
    return money.minor(amount, code, field), code


def _reply(event_ids: list[str]) -> Reply:
    return Reply(200, _encode(Accepted(True, event_ids[0])))


ENDPOINTS = (
    Endpoint(
        "overcentric",
        "/api/v1/event",
        "Track an event, and whose it is",
        SINGLE_LIMIT,
        read,
        (Body,),
        _reply,
        200,
        Accepted,
        site_field="event.project_id",
        public=True,
    ),
)
