"""What is told of a request: what came, what was stored, what was answered, and all that was wrong. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ovx_lite.dialects.diagnostics import Problem, decode_json
from ovx_lite.domain.calendar import format_utc_ms
from ovx_lite.domain.models import Event
from ovx_lite.emulator.fault_rules import Rule
from ovx_lite.http.responses import INTERNAL_ERROR, error_body
from ovx_lite.services import exporter
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.services.rejected import all_problems
from ovx_lite.storage.read.events import StoredEvent

_LONGEST_BODY = 16 * 1024
_LONGEST_ANSWER = 1024  # each event of a batch is told with the whole of it
_SECRET = ("authorization", "cookie")
_NAMES = ("event_name", "name", "eventName", "event_type", "type")


class Told(NamedTuple):
    """An event that was stored (`good`), or a request that was not (`bad`): whose it was, and the whole, as JSON.

    `body` is the request's, as it came: of a batch, all of it, while the JSON has the event's part.
    """

    status: str
    api: str
    site: str
    name: str
    document: dict[str, Any]
    body: bytes


def told(verdict: RequestOutcome, rule: Rule | None) -> list[Told]:
    """All that there is to say of a request, for each of its events; `rule` is what was done to it on purpose."""
    body = verdict.raw_request.body if verdict.raw_request else b""
    stored = verdict.error is None and verdict.reply is not None
    problems = all_problems(verdict) if rule is None else _faulted(verdict, rule, stored)
    if not stored:
        name = _name(body) or ("pageview" if verdict.endpoint.path.endswith("/pageview") else "")
        return [_told(verdict, rule, "bad", name, None, problems, body)]
    names = [*verdict.event_ids, *([""] * len(verdict.events))]  # none are known where an answer is given again
    return [
        _told(verdict, rule, "good", event.event_type.name, _stored(event, name), problems, part)
        for event, name, part in zip(verdict.events, names, _parts(body, len(verdict.events)), strict=False)
    ]


def _told(
    verdict: RequestOutcome,
    rule: Rule | None,
    status: str,
    name: str,
    stored: dict[str, Any] | None,
    problems: Sequence[Problem],
    part: bytes,
) -> Told:
    api, site = verdict.endpoint.api, verdict.site.slug if verdict.site else ""
    error = verdict.error
    document = {
        "status": status,
        "api": api,
        "site": site,
        "name": name,
        "request": {
            "at": format_utc_ms(verdict.received_at_ms),
            "method": verdict.method,
            "path": verdict.path,
            "headers": _headers(verdict.headers),
            "body": as_told(part, _LONGEST_BODY),
        },
        "answer": _answer(verdict, rule),
        "stored": stored,
        "error": None if error is None else {"code": error.code, "message": error.message, "field": error.field},
        "problems": [one._asdict() for one in problems],
        "followed": list(verdict.effects),
        "replayed": verdict.reply is not None and verdict.reply.replayed,
        "forwarded": None,
    }
    return Told(status, api, site, name, document, verdict.raw_request.body if verdict.raw_request else b"")


def _faulted(verdict: RequestOutcome, rule: Rule, stored: bool) -> list[Problem]:
    """What was done on purpose, and beside it what is wrong with the request itself."""
    done = "break the connection" if rule.kind else f"answer {rule.status}"
    became = "what came is stored" if stored else "nothing is stored"
    fault = Problem("fault", f"The stand-in was told to {done}; {became}.", "")
    itself = verdict if rule.phase == "after" else msgspec.structs.replace(verdict, error=None)
    return [fault, *all_problems(itself)]


def _answer(verdict: RequestOutcome, rule: Rule | None) -> dict[str, Any] | None:
    """What the caller was answered; None for nothing, as the connection was broken."""
    if rule is not None and (rule.kind or rule.phase == "after"):
        return None if rule.kind else {"status": rule.status, "body": None}
    if verdict.reply is not None:
        return {"status": verdict.reply.status, "body": as_told(verdict.reply.body, _LONGEST_ANSWER)}
    error = verdict.error or INTERNAL_ERROR
    status = error.status if rule is None else rule.status
    return {"status": status, "body": msgspec.Raw(error_body(error))}


def _headers(sent: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
    for name in headers.keys() & _SECRET:
        headers[name] = headers[name].partition(" ")[0] + " …"
    return headers


def as_told(body: bytes, longest: int) -> object:
    """A body as JSON, or as text if it is none, or is longer than so many bytes."""
    if len(body) <= longest and decode_json(body) is not None:
        return msgspec.Raw(body)
    text = body[:longest].decode("utf-8", "replace")
    return text if len(body) <= longest else f"{text}…"


def _parts(body: bytes, events: int) -> Sequence[bytes]:
    """What was sent of each event: of a batch, its own part, or a thousand entries would have all of it."""
    if events > 1:
        document = decode_json(body)
        items = document.get("events") if isinstance(document, dict) else document
        if isinstance(items, list) and len(items) == events:
            return [msgspec.json.encode(item) for item in items]
    return [body] * events


def _name(body: bytes) -> str:
    """What a refused event called itself, as far as it did."""
    document = decode_json(body)
    if isinstance(document, dict) and isinstance(document.get("event"), dict):
        document = document["event"]
    if not isinstance(document, dict):
        return ""
    return next((found[:200] for key in _NAMES if isinstance(found := document.get(key), str)), "")


def _stored(event: Event, name: str) -> dict[str, Any]:
    """An event as an export has it, but for its visit, which is only known when it is written."""
    found = exporter.row(
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
    del found["visit"]
    props = msgspec.Raw(event.props.encode()) if event.props else None
    return found | {"id": name or None, "props": props}
