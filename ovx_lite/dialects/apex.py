"""Apex's Events API: `POST /api/events`, a single event from a browser or a batch from a server (contract 5). Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ovx_lite.dialects import custom_props, fields
from ovx_lite.dialects.schema import (
    BATCH_LIMIT,
    SINGLE_LIMIT,
    Ask,
    Call,
    Endpoint,
    Faulty,
    Link,
    Required,
    Text,
    hits_of,
    parse,
)
from ovx_lite.dialects.validation import BATCH_EVENTS
from ovx_lite.domain.errors import Refused, detached
from ovx_lite.domain.models import Hit, Identity, Reply

ANONYMOUS = "anonymous"
"""The `visitorId` of those who are not to be told apart by a name; they are by a hash for the day, as elsewhere."""

_TYPES = {"pageview", "click", "form_submit"}


class Snippet(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A single event ("Snippet Format"); beyond the document, `sessionId` and `userId`."""

    type: Required
    visitor_id: Required
    project_key: Required
    url: Required
    data: custom_props.Free = msgspec.field(default_factory=msgspec.Raw)
    referrer: Link | None = None
    timestamp: Text | None = None
    session_id: Text | None = None
    user_id: Text | None = None


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch; beyond the document, `referrer`."""

    type: Required
    url: Required
    data: custom_props.Free = msgspec.field(default_factory=msgspec.Raw)
    referrer: Link | None = None
    timestamp: Text | None = None


class Batch(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Several events ("Batch Format"); beyond the document, `visitorId` and `sessionId`."""

    project_key: Required
    events: Annotated[list[Item], Meta(min_length=1, max_length=BATCH_EVENTS)]
    user_id: Text | None = None
    visitor_id: Text | None = None
    session_id: Text | None = None


class Received(msgspec.Struct, frozen=True):
    """The answer."""

    received: int


class _Either(msgspec.Struct, gc=False):
    """Enough of a body to see which of the two it is."""

    events: msgspec.Raw = msgspec.Raw()


_snippet = msgspec.json.Decoder(Snippet)
_batch = msgspec.json.Decoder(Batch)
_either = msgspec.json.Decoder(_Either)
_encode = msgspec.json.Encoder().encode


def read(call: Call) -> Ask:
    """The body of either format → an ask of its hits. Raises `Refused` if it is not JSON, or too long for one event.

    "A single batch request counts as one request against rate limits regardless of array size." How many events it has
    counts only where a site has a limit in events.
    """
    if _is_batch(call.body):
        return _read_batch(call)
    if len(call.body) > SINGLE_LIMIT:
        raise Refused("payload_too_large", "The body is too large: at most 64 KiB are taken of a single event.")
    sent = parse(call.body, _snippet)
    if isinstance(sent, Faulty):
        return Ask(sent.text("projectKey"), 1, problem=sent.problem)
    try:
        return Ask(sent.project_key, 1, [_hit(sent, sent, call)])
    except Refused as problem:
        return Ask(sent.project_key, 1, problem=detached(problem))


def _is_batch(body: bytes) -> bool:
    if b'"events"' not in body and b"\\u" not in body:
        return False
    try:
        return bytes(_either.decode(body).events) not in (b"", b"null")
    except (msgspec.DecodeError, RecursionError):
        return False  # whoever reads it next says what is wrong


def _read_batch(call: Call) -> Ask:
    sent = parse(call.body, _batch)
    if isinstance(sent, Faulty):
        return Ask(sent.text("projectKey"), sent.events(), problem=sent.problem)
    hits, problem = hits_of(sent.events, lambda item: _hit(item, sent, call))
    return Ask(sent.project_key, len(sent.events), hits, problem, urls="events[{}].url")


def _hit(event: Snippet | Item, whose: Snippet | Batch, call: Call) -> Hit:
    page, campaign = fields.url_or_path(event.url, "url")
    return Hit(
        event.type if event.type in _TYPES else "event",
        event.type,
        fields.timestamp(event.timestamp, call.now, "timestamp", "ISO 8601"),
        page,
        campaign,
        fields.referrer(event.referrer, "referrer"),
        call.address,
        call.user_agent,
        custom_props.text(custom_props.free(event.data, "data")),
        "" if whose.visitor_id is None or whose.visitor_id == ANONYMOUS else whose.visitor_id,
        whose.session_id or "",
        Identity(whose.user_id) if whose.user_id else None,
    )


def _reply(event_ids: list[str]) -> Reply:
    return Reply(200, _encode(Received(len(event_ids))))


ENDPOINTS = (
    Endpoint(
        "apex",
        "/api/events",
        "Track an event from a browser, or up to 1,000 from a server, all or nothing",
        BATCH_LIMIT,
        read,
        (Batch, Snippet),
        _reply,
        200,
        Received,
        site_field="projectKey",
        public=True,
    ),
)
