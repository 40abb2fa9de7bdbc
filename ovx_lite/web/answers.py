"""Refusals and faults as HTTP answers: the one place where the contract's error JSON is made (contract 2)."""

import logging

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope, Send

from ovx_lite.errors import Refused

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("ovx_lite")
_encode = msgspec.json.Encoder().encode
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}

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


async def send_json(send: Send, status: int, body: bytes, headers: Headers, last: bool = True) -> None:
    """Send a JSON answer; if it is not the `last` thing to do, the connection waits for an empty message more."""
    if body:
        headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not last})


def log_fault(scope: Scope, wrong: Exception) -> None:
    """Write a fault of ours to the log: where, and its traceback, but nothing of what was sent."""
    _log.error("%s %s failed", scope["method"], scope["path"], exc_info=wrong)


def _response(refused: Refused, headers: dict[str, str] | None = None) -> Response:
    return Response(
        error_body(refused),
        refused.status,
        {**(headers or {}), **{name.decode(): value.decode() for name, value in error_headers(refused)}},
        "application/json",
    )


async def on_refused(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for `Refused`."""
    assert isinstance(wrong, Refused)
    return _response(wrong)


async def on_http_exception(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for what its router refuses: unknown paths and methods."""
    assert isinstance(wrong, HTTPException)
    code = _CODES.get(wrong.status_code, "invalid_request")
    path, method = request.url.path, request.method
    message = {
        "not_found": f"There is nothing at {path}: see the README for the endpoints.",
        "method_not_allowed": f"{method} is not possible at {path}: see the header Allow.",
    }.get(code, wrong.detail)
    return _response(Refused(code, message), dict(wrong.headers or {}))


async def on_fault(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for everything else. (Starlette's server middleware logs the traceback itself.)"""
    return _response(FAULT)
