"""`/_dev`: the endpoints of the emulator, for tests and scripts."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects.schema import InvalidDocument, decode_body
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.clock import parse_duration, parse_time
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.emulator.fault_rules import parse_rules
from ovx_lite.emulator.journal import MAX_ENTRIES, StoredEntry
from ovx_lite.web.common.context import RouteTable, context

_MAX_BODY_BYTES = 1024 * 1024
_MAX_WAIT_S = 300.0
_MAX_DIGITS = 15
_any_json = msgspec.json.Decoder(Any)


def emulator_of(request: Request) -> Emulator:
    """Return the emulator, which `EmulatorApp` attaches to each request."""
    emulator: Emulator = request.state.emulator
    return emulator


def as_json(value: object, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def read_body(request: Request) -> bytes:
    """Return the body of a request. Raises `ApiError`."""
    return await context(request).read_body(request, _MAX_BODY_BYTES)


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body, `{}` if the body is empty. Raises `ApiError`."""
    body = await read_body(request)
    document = _parse_json(body) if body.strip() else {}
    if not isinstance(document, dict):
        raise ApiError("invalid_request", "The body must be a JSON object.")
    return document


def _parse_json(body: bytes) -> Any:
    document: Any = decode_body(body, _any_json)
    if isinstance(document, InvalidDocument):
        raise document.problem
    return document


async def show_summary(request: Request) -> Response:
    """`GET /_dev/summary`: the number of good and bad entries."""
    journal = emulator_of(request).journal
    return as_json({"total": journal.good + journal.bad, "good": journal.good, "bad": journal.bad})


async def list_events(request: Request) -> Response:
    """`GET /_dev/events`: entries of the journal, the latest first."""
    return _entries_as_json(_matching_entries(request)[: _read_number(request, "limit", 100, 1, MAX_ENTRIES)])


async def show_event_body(request: Request) -> Response:
    """`GET /_dev/events/NUMBER/body`: the body of the request byte by byte; for a batch, the whole batch."""
    text = request.path_params["number"]
    number = int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else 0
    entry = emulator_of(request).journal.find(number)
    if entry is None:
        raise ApiError("not_found", "There is no entry with this number. Old entries are dropped from the journal.")
    return Response(entry.body, media_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})


def _matching_entries(request: Request) -> list[StoredEntry]:
    params = request.query_params
    criteria = {name: params.get(name, "") for name in ("api", "site", "name", "status")}
    if criteria["status"] not in ("", "good", "bad"):
        raise ApiError("invalid_request", "`status` must be good or bad.", "status")
    return list(emulator_of(request).journal.entries(criteria))


def _entries_as_json(entries: list[StoredEntry], status: int = 200) -> Response:
    return as_json({"events": [msgspec.Raw(entry.json) for entry in entries]}, status)


def _read_number(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isdecimal() and len(text) <= _MAX_DIGITS and minimum <= int(text) <= maximum):
        raise ApiError("invalid_request", f"`{name}` must be an integer from {minimum} to {maximum:,}.", name)
    return int(text)


async def wait_for_events(request: Request) -> Response:
    """`GET /_dev/events/wait`: entries, as soon as there are `count`; those that there are with 408 on a timeout."""
    journal, count = emulator_of(request).journal, _read_number(request, "count", 1, 1, MAX_ENTRIES)
    try:
        timeout_s = float(request.query_params.get("timeout", "10"))
    except ValueError:
        timeout_s = -1
    if not 0 <= timeout_s <= _MAX_WAIT_S:
        raise ApiError(
            "invalid_request", f"`timeout` must be a number of seconds from 0 to {_MAX_WAIT_S:g}.", "timeout"
        )
    entries = _matching_entries(request)
    try:
        async with asyncio.timeout(timeout_s):
            while len(entries) < count and not context(request).notifier.closed:
                await journal.wait_for_change()
                entries = _matching_entries(request)
    except TimeoutError:
        pass  # return what has arrived so far
    return _entries_as_json(entries, 200 if len(entries) >= count else 408)


async def reset(request: Request) -> Response:
    """`POST /_dev/reset`: go back to the initial state."""
    await emulator_of(request).reset()
    return as_json({"reset": True})


async def list_faults(request: Request) -> Response:
    """`GET /_dev/faults`: the fault rules that still apply."""
    return as_json({"rules": emulator_of(request).faults.remaining()})


async def replace_faults(request: Request) -> Response:
    """`PUT /_dev/faults`: replace all fault rules."""
    emulator_of(request).faults.replace(parse_rules(_parse_json(await read_body(request))))
    return await list_faults(request)


async def delete_faults(request: Request) -> Response:
    """`DELETE /_dev/faults`: remove all fault rules."""
    emulator_of(request).faults.replace([])
    return await list_faults(request)


async def show_clock(request: Request) -> Response:
    """`GET /_dev/clock`: the time that the clock shows."""
    now_ms = emulator_of(request).clock.now_ms()
    return as_json({"now": format_utc(now_ms), "ms": now_ms})


async def move_clock(request: Request) -> Response:
    """`POST /_dev/clock`: move the clock forward, and do what falls due."""
    emulator, document = emulator_of(request), await read_object(request)
    if set(document) == {"advance"}:
        duration_ms = parse_duration(document["advance"], "advance")
        moved = await emulator.move_clock(lambda now_ms: parse_time(now_ms + duration_ms, now_ms, "advance"))
    elif set(document) == {"set"}:
        moved = await emulator.move_clock(lambda now_ms: parse_time(document["set"], now_ms, "set"))
    else:
        raise ApiError("invalid_request", 'Send {"advance": "36m"} or {"set": "2025-03-15T14:00:00Z"}.')
    return as_json(moved)


ROUTES: RouteTable = [
    ("GET", "/_dev/summary", show_summary),
    ("GET", "/_dev/events", list_events),
    ("GET", "/_dev/events/{number}/body", show_event_body),
    ("GET", "/_dev/events/wait", wait_for_events),
    ("POST", "/_dev/reset", reset),
    ("GET", "/_dev/faults", list_faults),
    ("PUT", "/_dev/faults", replace_faults),
    ("DELETE", "/_dev/faults", delete_faults),
    ("GET", "/_dev/clock", show_clock),
    ("POST", "/_dev/clock", move_clock),
]
