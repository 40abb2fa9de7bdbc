"""Overcentric's Event API: `POST /api/v1/event` (docs/api/overcentric.md). Pure."""

from typing import Any, Literal

import msgspec

from ovx_lite.dialects import custom_props, fields
from ovx_lite.dialects.schema import (
    SINGLE_BODY_LIMIT_BYTES,
    Endpoint,
    InvalidDocument,
    Link,
    ParsedRequest,
    RawRequest,
    Required,
    Text,
    decode_body,
)
from ovx_lite.domain import money
from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.domain.models import Campaign, Hit, Identity, PageUrl, Reply

_NO_PAYMENT = "$subscription_cancel"
_PAYMENT_PREFIXES = ("$subscription_", "$purchase")


class Event(msgspec.Struct, frozen=True, gc=False):
    """The event (Overcentric, Event API, Event Object Fields). `timestamp` is an addition of ovx-lite.

    `project_id` is the public ID or the public key of the site.
    """

    name: Required
    project_id: Required
    device_id: Required
    session_id: Required
    context: Literal["website", "product"]
    url: Link | None = None
    hostname: Text | None = None
    properties: custom_props.FreeProps = msgspec.field(default_factory=msgspec.Raw)
    timestamp: float | Text | None = None


class Person(msgspec.Struct, frozen=True, gc=False):
    """The person to whom it happened (Overcentric, Event API, Identity Object Fields)."""

    unique_identifier: Required
    project_id: Required
    email: Text | None = None
    name: Text | None = None


class Body(msgspec.Struct, frozen=True, gc=False):
    """An event, and optionally the identity of a person."""

    event: Event
    identity: Person | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The response, with the ID of the stored event."""

    success: bool
    event_id: str


class _PaymentProps(msgspec.Struct, gc=False):
    amount: msgspec.Raw = msgspec.Raw()
    price: msgspec.Raw = msgspec.Raw()


_body_decoder = msgspec.json.Decoder(Body)
_payment_decoder = msgspec.json.Decoder(_PaymentProps)
_encode = msgspec.json.Encoder().encode


def parse_event(request: RawRequest) -> ParsedRequest:
    """Parse an event. Raises `ApiError` if the body is not JSON."""
    payload = decode_body(request.body, _body_decoder)
    if isinstance(payload, InvalidDocument):
        return ParsedRequest(payload.text("event", "project_id"), 1, problem=payload.problem)
    try:
        url_field = "event.url" if payload.event.url else "event.hostname"
        return ParsedRequest(
            payload.event.project_id, 1, [_hit(payload.event, payload.identity, request)], url_field=url_field
        )
    except ApiError as exc:
        return ParsedRequest(payload.event.project_id, 1, problem=detached(exc))


def _hit(event: Event, identity: Person | None, request: RawRequest) -> Hit:
    if identity is not None and identity.project_id != event.project_id:
        raise ApiError(
            "invalid_request", "identity.project_id must be the same as event.project_id.", "identity.project_id"
        )
    page, campaign = _page(event)
    timestamp_ms = fields.timestamp(event.timestamp, request.received_at_ms, "event.timestamp")
    properties = custom_props.parse_props(event.properties, "event.properties")
    revenue_minor, currency = _revenue(event, properties)
    return Hit(
        type="event",
        name=event.name,
        timestamp_ms=timestamp_ms,
        page=page,
        campaign=campaign,
        address=request.address,
        user_agent=request.user_agent,
        props=custom_props.encode_props(properties),
        device_id=event.device_id,
        session_id=event.session_id,
        identity=None if identity is None else _identity(identity),
        context=event.context,
        revenue_minor=revenue_minor,
        currency=currency,
    )


def _page(event: Event) -> tuple[PageUrl, Campaign]:
    host = fields.hostname(event.hostname, "event.hostname") if event.hostname else ""
    return fields.url(event.url, "event.url") if event.url else (PageUrl("", host, ""), Campaign())


def _identity(person: Person) -> Identity:
    traits = {"email": person.email, "name": person.name}
    return Identity(person.unique_identifier, {trait: value for trait, value in traits.items() if value})


def _revenue(event: Event, properties: dict[str, Any]) -> tuple[int | None, str]:
    """Return the revenue of an event whose name starts with `$`: `amount` or `price` in its properties, and a currency.

    Overcentric's documentation does not list these reserved names. So an invalid amount is an error only for
    `$subscription_…` and `$purchase…`; other `$` events are stored without revenue (docs/api/overcentric.md, Revenue).
    """
    if not event.name.startswith("$") or event.name == _NO_PAYMENT:
        return None, ""
    name = next((name for name in ("amount", "price") if properties.get(name) is not None), None)
    if name is None:
        return None, ""
    try:
        return _payment(event.properties, name, properties.get("currency"))
    except ApiError:
        if event.name.startswith(_PAYMENT_PREFIXES):
            raise
        return None, ""


def _payment(properties: msgspec.Raw, name: str, currency: object) -> tuple[int | None, str]:
    if not isinstance(currency, str | None):
        field = "event.properties.currency"
        raise ApiError("invalid_request", f"{field} must be a string, for example EUR.", field)
    # Decoded again, because the properties hold it as a binary float, which is not exact.
    field, payment = f"event.properties.{name}", _payment_decoder.decode(properties)
    amount = money.parse_amount(payment.amount if name == "amount" else payment.price, field)
    code = money.parse_currency(currency, "event.properties.currency") if currency else money.UNKNOWN_CURRENCY
    return (None, "") if amount is None else (money.to_minor(amount, code, field), code)


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(200, _encode(Accepted(True, event_ids[0])))


ENDPOINTS = (
    Endpoint(
        api="overcentric",
        path="/api/v1/event",
        summary="Track an event, optionally with the identity of a person",
        body_limit_bytes=SINGLE_BODY_LIMIT_BYTES,
        parse=parse_event,
        request_types=(Body,),
        build_response=_build_response,
        status=200,
        response_type=Accepted,
        site_field="event.project_id",
        public=True,
    ),
)
