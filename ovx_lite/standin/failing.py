"""Requests that fail on purpose, as callers of the real thing would see it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from ovx_lite.errors import Refused
from ovx_lite.standin.faults import Rule, rule_of_header
from ovx_lite.standin.stage import Standin
from ovx_lite.web.answers import error_body, error_headers, send_json

_HEADER = b"x-ovx-fault"
_CODES = {
    401: "unauthorized",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    503: "unavailable",
}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time: what is not sent is thrown away, and the peer is told


async def perform(
    standin: Standin, app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a request as the API would, or let it fail as the rules, or its own header, have it."""
    try:
        rule = _rule(standin, scope)
    except Refused as refused:
        await send_json(send, refused.status, error_body(refused), [])
        return
    if rule is None:
        await app(scope, receive, send)
        return
    if rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    if rule.status is None and rule.kind is None:
        await app(scope, receive, send)
        return
    if rule.phase == "after":
        await app(scope, receive, _lost)
    if rule.kind is not None:
        _hang_up(scope["extensions"]["ovx.transport"], rule.kind == "reset")
        while (await receive())["type"] != "http.disconnect":
            pass  # until uvicorn knows it, too
        return
    await _fail(rule, send)


def _rule(standin: Standin, scope: Scope) -> Rule | None:
    told = dict(scope["headers"]).get(_HEADER)
    if told is not None:
        return rule_of_header(told.decode("latin-1"))
    return standin.faults.next(scope["method"], scope["path"])


async def _lost(message: Message) -> None:
    """Where an answer goes that nobody gets."""


async def _fail(rule: Rule, send: Send) -> None:
    status = rule.status or 500
    message = "This is a fault that the stand-in was told to make; the next request may fare better."
    refused = Refused(_CODES.get(status, "internal_error"), message, retry_after=rule.retry_after)
    await send_json(send, status, error_body(refused), error_headers(refused))


def _hang_up(transport: Any, reset: bool) -> None:
    """Close a connection without an answer; with `reset`, so that the caller reads an error, not an end."""
    connection: socket.socket = transport.get_extra_info("socket")
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
