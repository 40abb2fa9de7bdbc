"""Overcentric's Event API: `POST /api/v1/event` (contract 4). Pure."""

from typing import Any, Literal

import msgspec

from ovx_lite.dialects import custom_props, fields
from ovx_lite.dialects.schema import SINGLE_LIMIT, Ask, Call, Endpoint, Faulty, Link, Required, Text, parse
from ovx_lite.domain import money
from ovx_lite.domain.errors import Refused, detached
from ovx_lite.domain.models import Campaign, Hit, Identity, Page, Reply

_NO_PAYMENT = "$subscription_cancel"
_SURELY_PAYMENTS = ("$subscription_", "$purchase")


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened ("Event Object Fields"), and beyond the document, when."""

    name: Required
    project_id: Required
    device_id: Required
    session_id: Required
    context: Literal["website", "product"]
    url: Link | None = None
    hostname: Text | None = None
    properties: custom_props.Free = msgspec.field(default_factory=msgspec.Raw)
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


class _Paid(msgspec.Struct, gc=False):
    amount: msgspec.Raw = msgspec.Raw()
    price: msgspec.Raw = msgspec.Raw()


_body = msgspec.json.Decoder(Body)
_paid = msgspec.json.Decoder(_Paid)
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
        return Ask(sent.event.project_id, 1, problem=detached(problem))


def _hit(event: Event, identity: Person | None, call: Call) -> Hit:
    if identity is not None and identity.project_id != event.project_id:
        raise Refused(
            "invalid_request", "identity.project_id must be the same as event.project_id.", "identity.project_id"
        )
    page, campaign = _page(event)
    ts = fields.timestamp(event.timestamp, call.now, "event.timestamp")
    properties = custom_props.free(event.properties, "event.properties")
    revenue, currency = _revenue(event, properties)
    return Hit(
        "event",
        event.name,
        ts,
        page,
        campaign,
        address=call.address,
        user_agent=call.user_agent,
        props=custom_props.text(properties),
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
    """The `amount` or `price` of a reserved event, whose name begins with `$`; one that ends a payment has none.

    The document does not list the reserved names, so others with `$` have revenue, too, if it can be read; they are
    stored in any case ("an unknown one is stored like any other", contract 4).
    """
    if not event.name.startswith("$") or event.name == _NO_PAYMENT:
        return None, ""
    name = next((name for name in ("amount", "price") if properties.get(name) is not None), None)
    if name is None:
        return None, ""
    try:
        return _paid_in(event.properties, name, properties.get("currency"))
    except Refused:
        if event.name.startswith(_SURELY_PAYMENTS):
            raise
        return None, ""


def _paid_in(properties: msgspec.Raw, name: str, currency: object) -> tuple[int | None, str]:
    if not isinstance(currency, str | None):
        field = "event.properties.currency"
        raise Refused("invalid_request", f"{field} must be a string like EUR.", field)
    # Anew, and exactly: as a property, it was read as a binary float.
    field, paid = f"event.properties.{name}", _paid.decode(properties)
    amount = money.amount(paid.amount if name == "amount" else paid.price, field)
    code = money.currency(currency, "event.properties.currency") if currency else money.UNTOLD
    return (None, "") if amount is None else (money.minor(amount, code, field), code)


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
