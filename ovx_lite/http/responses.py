"""Errors as HTTP responses. This is the only place that builds the error JSON (docs/api/README.md, Errors)."""

import logging
from collections.abc import Iterable

import msgspec
from starlette.types import Send

from ovx_lite.auth.rate_limit import RateLimitStatus
from ovx_lite.domain.errors import ApiError

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("ovx_lite")
_encode = msgspec.json.Encoder().encode

INTERNAL_ERROR = ApiError("internal_error", "The server failed to handle this request. Its log has the details.")


def error_body(error: ApiError) -> bytes:
    """Return `{"error": {"code", "message", "field"}}`, with `field` only if one field is to blame."""
    content = {"code": error.code, "message": error.message}
    if error.field:
        content["field"] = error.field
    return _encode({"error": content})


def error_headers(error: ApiError) -> Headers:
    """Return the headers that go with an error: `Retry-After` and `WWW-Authenticate`, where they apply."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def rate_limit_lines(rate_limit: RateLimitStatus) -> bytes:
    """Return the `RateLimit-*` headers (docs/api/README.md, Rate limits)."""
    return b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n" % (
        rate_limit.limit,
        rate_limit.remaining,
        rate_limit.reset_s,
    )


def encode_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as lines. Their values must not contain line breaks."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def decode_headers(lines: bytes) -> Headers:
    """Return the headers of lines that `encode_headers` made."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n") if line)]


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a JSON response."""
    content_headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send_response(send, status, headers + content_headers, body)


async def send_response(send: Send, status: int, headers: Headers, body: bytes, is_last: bool = True) -> None:
    """Send a response. Unless `is_last`, the caller must send a final empty message, which ends the response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def log_internal_error(method: str, path: str, exc: Exception) -> None:
    """Log an unexpected exception: the method, the path and the traceback, but nothing of the request's content."""
    _log.error("%s %s failed", method, path, exc_info=exc)
