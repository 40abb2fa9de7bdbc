"""Turns a request and its outcome into journal entries: what was sent, stored and answered, and all problems. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ovx_lite.dialects.diagnostics import Problem, decode_json
from ovx_lite.domain.calendar import format_utc_ms
from ovx_lite.domain.models import Event
from ovx_lite.emulator.fault_rules import FaultRule
from ovx_lite.http.responses import INTERNAL_ERROR, error_body
from ovx_lite.services import exporter
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.services.rejected import all_problems
from ovx_lite.storage.read.events import StoredEvent

_MAX_BODY_BYTES = 16 * 1024
_MAX_RESPONSE_BYTES = 1024  # each event of a batch has the whole response in its entry
_MAX_NAME_LENGTH = 200
_SECRET_HEADERS = ("authorization", "cookie")
_NAME_FIELDS = ("event_name", "name", "eventName", "event_type", "type")


class JournalEntry(NamedTuple):
    """A stored event (`good`) or a rejected request (`bad`): what it can be filtered by, and the whole as JSON.

    `body` is the body of the request as it came. For an event of a batch, it is the whole batch, while `document` has
    the event's part.
    """

    status: str
    api: str
    site: str
    name: str
    document: dict[str, Any]
    body: bytes


def journal_entries(outcome: RequestOutcome, rule: FaultRule | None) -> list[JournalEntry]:
    """Return an entry for each stored event of a request, or one for a rejected request.

    `rule` is the fault that was injected, if any.
    """
    body = outcome.raw_request.body if outcome.raw_request else b""
    is_stored = outcome.error is None and outcome.reply is not None
    problems = all_problems(outcome) if rule is None else _problems_with_fault(outcome, rule, is_stored)
    if not is_stored:
        name = _event_name(body) or ("pageview" if outcome.endpoint.path.endswith("/pageview") else "")
        return [_entry(outcome, rule, "bad", name, None, problems, body)]
    ids = [*outcome.event_ids, *([""] * len(outcome.events))]  # a replay has no ids
    parts = _event_parts(body, len(outcome.events))
    return [
        _entry(outcome, rule, "good", event.event_type.name, _stored_event(event, id), problems, part)
        for event, id, part in zip(outcome.events, ids, parts, strict=False)
    ]


def _entry(
    outcome: RequestOutcome,
    rule: FaultRule | None,
    status: str,
    name: str,
    stored: dict[str, Any] | None,
    problems: Sequence[Problem],
    part: bytes,
) -> JournalEntry:
    api, site_slug = outcome.endpoint.api, outcome.site.slug if outcome.site else ""
    error = outcome.error
    document = {
        "status": status,
        "api": api,
        "site": site_slug,
        "name": name,
        "request": {
            "at": format_utc_ms(outcome.received_at_ms),
            "method": outcome.method,
            "path": outcome.path,
            "headers": _headers_without_secrets(outcome.headers),
            "body": body_as_json(part, _MAX_BODY_BYTES),
        },
        "answer": _response(outcome, rule),
        "stored": stored,
        "error": None if error is None else {"code": error.code, "message": error.message, "field": error.field},
        "problems": [problem._asdict() for problem in problems],
        "followed": list(outcome.effects),
        "replayed": outcome.reply is not None and outcome.reply.replayed,
        "forwarded": None,
    }
    return JournalEntry(
        status, api, site_slug, name, document, outcome.raw_request.body if outcome.raw_request else b""
    )


def _problems_with_fault(outcome: RequestOutcome, rule: FaultRule, is_stored: bool) -> list[Problem]:
    """Return the injected fault as a problem, and then the problems of the request itself."""
    effect = "broke the connection" if rule.kind else f"answered {rule.status}"
    message = f"The emulator {effect} on purpose. The request was {'' if is_stored else 'not '}stored."
    # With the phase `before`, the error is the injected one.
    request = outcome if rule.phase == "after" else msgspec.structs.replace(outcome, error=None)
    return [Problem("fault", message, ""), *all_problems(request)]


def _response(outcome: RequestOutcome, rule: FaultRule | None) -> dict[str, Any] | None:
    """Return the response that the caller got; `None` if the connection was broken instead."""
    if rule is not None and (rule.kind or rule.phase == "after"):
        return None if rule.kind else {"status": rule.status, "body": None}
    if outcome.reply is not None:
        return {"status": outcome.reply.status, "body": body_as_json(outcome.reply.body, _MAX_RESPONSE_BYTES)}
    error = outcome.error or INTERNAL_ERROR
    status = error.status if rule is None else rule.status
    return {"status": status, "body": msgspec.Raw(error_body(error))}


def _headers_without_secrets(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    for name in texts.keys() & _SECRET_HEADERS:
        texts[name] = texts[name].partition(" ")[0] + " …"
    return texts


def body_as_json(body: bytes, max_bytes: int) -> object:
    """Return a body as JSON. One that is not JSON or is too long becomes a string, cut off after `max_bytes`."""
    if len(body) <= max_bytes and decode_json(body) is not None:
        return msgspec.Raw(body)
    text = body[:max_bytes].decode("utf-8", "replace")
    return text if len(body) <= max_bytes else f"{text}…"


def _event_parts(body: bytes, events: int) -> Sequence[bytes]:
    """Return each event's part of a batch, as a thousand entries with the whole body would take too much memory."""
    if events > 1:
        document = decode_json(body)
        items = document.get("events") if isinstance(document, dict) else document
        if isinstance(items, list) and len(items) == events:
            return [msgspec.json.encode(item) for item in items]
    return [body] * events


def _event_name(body: bytes) -> str:
    """Return the event name in the body of a rejected request, `""` if there is none."""
    document = decode_json(body)
    if isinstance(document, dict) and isinstance(document.get("event"), dict):
        document = document["event"]
    if not isinstance(document, dict):
        return ""
    names = (document.get(field) for field in _NAME_FIELDS)
    return next((name[:_MAX_NAME_LENGTH] for name in names if isinstance(name, str)), "")


def _stored_event(event: Event, public_id: str) -> dict[str, Any]:
    """Return an event as an export has it, without its visit, which is assigned only when the event is written."""
    row = exporter.row(
        StoredEvent(
            id=0,
            timestamp_ms=event.timestamp_ms,
            host=event.page.host,
            path=event.page.path,
            visitor_id=event.visitor_id,
            visit_id=None,
            person=event.person.user_id if event.person else None,
            props=event.props,
            revenue_minor=event.revenue_minor,
            **event.event_type._asdict(),
            **event.traffic_source._asdict(),
            **event.client._asdict(),
        )
    )
    del row["visit"]
    props = msgspec.Raw(event.props.encode()) if event.props else None
    return row | {"id": public_id or None, "props": props}
