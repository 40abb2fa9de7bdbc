"""Refusals and faults as HTTP answers: the one place where the contract's error JSON is made (contract 2)."""

import logging

import msgspec
from starlette.types import Scope, Send

from ovx_lite.auth.rate_limit import RateLimitStatus
from ovx_lite.domain.errors import ApiError

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("ovx_lite")
_encode = msgspec.json.Encoder().encode

INTERNAL_ERROR = ApiError("internal_error", "Something went wrong on our side; the server's log says what.")


def error_body(error: ApiError) -> bytes:
    """`{"error": {"code", "message", "field"}}`, `field` only where one field is to blame."""
    content = {"code": error.code, "message": error.message}
    if error.field:
        content["field"] = error.field
    return _encode({"error": content})


def error_headers(error: ApiError) -> Headers:
    """The headers that a refusal brings along."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def rate_limit_headers(rate_limit: RateLimitStatus) -> Headers:
    """Where a limited caller stands (contract 2)."""
    return [
        (b"ratelimit-limit", b"%d" % rate_limit.limit),
        (b"ratelimit-remaining", b"%d" % rate_limit.remaining),
        (b"ratelimit-reset", b"%d" % rate_limit.reset_s),
    ]


async def send_json(send: Send, status: int, body: bytes, headers: Headers, is_last: bool = True) -> None:
    """Send a JSON answer; if it is not the `last` thing to do, the connection waits for an empty message more."""
    if body:
        headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def log_internal_error(scope: Scope, exc: Exception) -> None:
    """Write a fault of ours to the log: where, and its traceback, but nothing of what was sent."""
    _log.error("%s %s failed", scope["method"], scope["path"], exc_info=exc)
