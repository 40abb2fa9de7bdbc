"""`/_dev`: what the stand-in's own tools are called by (contract 8)."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects.schema import InvalidDocument, decode_body
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.clock import length, time_of
from ovx_lite.emulator.emulator import Standin
from ovx_lite.emulator.fault_rules import Rule, rules_of
from ovx_lite.emulator.journal import MOST, Entry
from ovx_lite.web.common.context import RouteTable, context

_LARGEST = 1024 * 1024
_LONGEST_WAIT = 300.0
_anything = msgspec.json.Decoder(Any)


def standin_of(request: Request) -> Standin:
    """The stand-in that answers."""
    found: Standin = request.app.state.standin
    return found


def as_json(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def body_of(request: Request) -> bytes:
    """The body of a request. Raises `ApiError`."""
    return await context(request).read_body(request, _LARGEST)


async def document_of(request: Request) -> dict[str, Any]:
    """The JSON object that was sent, or an empty one for nothing. Raises `ApiError`."""
    body = await body_of(request)
    document = _parsed(body) if body.strip() else {}
    if not isinstance(document, dict):
        raise ApiError("invalid_request", "The body is no JSON object: send one in braces.")
    return document


def _parsed(body: bytes) -> Any:
    sent: Any = decode_body(body, _anything)
    if isinstance(sent, InvalidDocument):
        raise sent.problem
    return sent


async def summary(request: Request) -> Response:
    """`GET /_dev/summary`: how many arrived since the start."""
    journal = standin_of(request).journal
    return as_json({"total": journal.good + journal.bad, "good": journal.good, "bad": journal.bad})


async def events(request: Request) -> Response:
    """`GET /_dev/events`: what arrived, the latest first."""
    return _told(_found(request)[: _number(request, "limit", 100, 1, MOST)])


async def event_body(request: Request) -> Response:
    """`GET /_dev/events/NUMBER/body`: what was sent, byte by byte; of a batch, all of it."""
    told = request.path_params["number"]
    entry = standin_of(request).journal.find(int(told)) if told.isdecimal() and len(told) < 16 else None
    if entry is None:
        raise ApiError("not_found", "There is no such entry in the journal; it may have been pushed out.")
    return Response(entry.body, media_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})


def _found(request: Request) -> list[Entry]:
    asked = request.query_params
    status = asked.get("status", "")
    if status not in ("", "good", "bad"):
        raise ApiError("invalid_request", "status is good or bad.", "status")
    wanted = {name: asked.get(name, "") for name in ("api", "site", "name")}
    return list(standin_of(request).journal.entries(wanted | {"status": status}))


def _told(entries: list[Entry], status: int = 200) -> Response:
    return as_json({"events": [msgspec.Raw(entry.json) for entry in entries]}, status)


def _number(request: Request, name: str, usual: int, least: int, most: int) -> int:
    told = request.query_params.get(name, str(usual))
    if not told.isdecimal() or not least <= int(told[:12]) <= most:
        raise ApiError("invalid_request", f"{name} is a whole number from {least} to {most:,}.", name)
    return int(told)


async def wait(request: Request) -> Response:
    """`GET /_dev/events/wait`: the events once there are so many; 408 with those that came if that takes too long."""
    journal, count = standin_of(request).journal, _number(request, "count", 1, 1, MOST)
    seconds = request.query_params.get("timeout", "10")
    try:
        longest = float(seconds)
    except ValueError:
        longest = -1
    if not 0 <= longest <= _LONGEST_WAIT:
        raise ApiError("invalid_request", f"timeout is in seconds, at most {_LONGEST_WAIT:g}.", "timeout")
    found = _found(request)
    try:
        async with asyncio.timeout(longest):
            while len(found) < count and not context(request).notifier.closed:
                await journal.more()
                found = _found(request)
    except TimeoutError:
        pass  # then it is these
    return _told(found, 200 if len(found) >= count else 408)


async def reset(request: Request) -> Response:
    """`POST /_dev/reset`: back to the start."""
    await standin_of(request).reset()
    return as_json({"reset": True})


async def faults(request: Request) -> Response:
    """`GET /_dev/faults`: the rules that are left."""
    return _faults(standin_of(request).faults.shown())


def _faults(rules: list[Rule]) -> Response:
    return as_json({"rules": rules})


async def put_faults(request: Request) -> Response:
    """`PUT /_dev/faults`: other rules in their place."""
    standin_of(request).faults.put(rules_of(_parsed(await body_of(request))))
    return await faults(request)


async def delete_faults(request: Request) -> Response:
    """`DELETE /_dev/faults`: no rules any more."""
    standin_of(request).faults.put([])
    return await faults(request)


async def clock(request: Request) -> Response:
    """`GET /_dev/clock`: what time it is here."""
    now = standin_of(request).clock.now_ms()
    return as_json({"now": format_utc(now), "ms": now})


async def turn(request: Request) -> Response:
    """`POST /_dev/clock`: puts the clock forward, and does what falls due."""
    standin, told = standin_of(request), await document_of(request)
    if set(told) == {"advance"}:
        by = length(told["advance"], "advance")
        return as_json(await standin.turn(lambda now: time_of(now + by, now, "advance")))
    if set(told) == {"set"}:
        return as_json(await standin.turn(lambda now: time_of(told["set"], now, "set")))
    raise ApiError("invalid_request", 'Send {"advance": "36m"} or {"set": "2025-03-15T14:00:00Z"}.')


OPEN: RouteTable = [
    ("GET", "/_dev/summary", summary),
    ("GET", "/_dev/events", events),
    ("GET", "/_dev/events/{number}/body", event_body),
    ("GET", "/_dev/events/wait", wait),
    ("POST", "/_dev/reset", reset),
    ("GET", "/_dev/faults", faults),
    ("PUT", "/_dev/faults", put_faults),
    ("DELETE", "/_dev/faults", delete_faults),
    ("GET", "/_dev/clock", clock),
    ("POST", "/_dev/clock", turn),
]
