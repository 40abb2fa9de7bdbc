"""Refusals and faults as HTTP answers: the one place where the contract's error JSON is made (contract 2)."""

import logging

import msgspec
from starlette.types import Scope, Send

from ovx_lite.auth.rate_limit import Allowance
from ovx_lite.domain.errors import Refused

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("ovx_lite")
_encode = msgspec.json.Encoder().encode

FAULT = Refused("internal_error", "Something went wrong on our side; the server's log says what.")


def error_body(refused: Refused) -> bytes:
    """`{"error": {"code", "message", "field"}}`, `field` only where one field is to blame."""
    error = {"code": refused.code, "message": refused.message}
    if refused.field:
        error["field"] = refused.field
    return _encode({"error": error})


def error_headers(refused: Refused) -> Headers:
    """The headers that a refusal brings along."""
    headers: Headers = []
    if refused.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refused.retry_after))
    if refused.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def limit_headers(standing: Allowance) -> Headers:
    """Where a limited caller stands (contract 2)."""
    return [
        (b"ratelimit-limit", b"%d" % standing.limit),
        (b"ratelimit-remaining", b"%d" % standing.remaining),
        (b"ratelimit-reset", b"%d" % standing.reset),
    ]


async def send_json(send: Send, status: int, body: bytes, headers: Headers, last: bool = True) -> None:
    """Send a JSON answer; if it is not the `last` thing to do, the connection waits for an empty message more."""
    if body:
        headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not last})


def log_fault(scope: Scope, wrong: Exception) -> None:
    """Write a fault of ours to the log: where, and its traceback, but nothing of what was sent."""
    _log.error("%s %s failed", scope["method"], scope["path"], exc_info=wrong)
