"""Refusals and faults of all but the ingestion endpoints: a page for a browser's window, else the contract's JSON."""

import logging
from difflib import get_close_matches

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects import ENDPOINTS
from ovx_lite.domain.errors import Refused
from ovx_lite.http.responses import FAULT, error_body, error_headers
from ovx_lite.web.common.templating import error_page, wants_html

_log = logging.getLogger("ovx_lite")
_LONGEST_PATH = 100
_ALIKE = 0.7
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def error_answer(request: Request, refused: Refused, headers: dict[str, str] | None = None) -> Response:
    """What a refusal looks like to whoever asks."""
    if wants_html(request):
        answer = error_page(request, refused)
    else:
        answer = Response(error_body(refused), refused.status, media_type="application/json")
    for name, value in error_headers(refused):
        answer.headers[name.decode()] = value.decode()
    answer.headers.update(headers or {})
    return answer


async def on_refused(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for `Refused`."""
    assert isinstance(wrong, Refused)
    return error_answer(request, wrong)


async def on_http_exception(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for what its router refuses: unknown paths and methods."""
    assert isinstance(wrong, HTTPException)
    code = _CODES.get(wrong.status_code, "invalid_request")
    path, message = request.url.path, wrong.detail
    if code == "not_found":
        return error_answer(request, nothing_at(path))
    if code == "method_not_allowed":
        message = f"{request.method} is not possible at {_printable(path)}: see the header Allow."
    return error_answer(request, Refused(code, message), dict(wrong.headers or {}))


def nothing_at(path: str) -> Refused:
    """The refusal for a path that is nobody's, with the endpoint that it may have meant."""
    near = get_close_matches(path[:_LONGEST_PATH], [endpoint.path for endpoint in ENDPOINTS], 1, _ALIKE)
    hint = f"did you mean {near[0]}?" if near else "see /openapi.json for the endpoints."
    return Refused("not_found", f"There is nothing at {_printable(path)}: {hint}")


def _printable(path: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in path)


async def on_store_error(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for a store that cannot be written, or read, now."""
    _log.error("the store cannot be used: %s", wrong)
    message = "The store cannot be used now: see that its disk has room. Nothing was changed; try it again in a moment."
    return error_answer(request, Refused("unavailable", message, retry_after=1))


async def on_fault(request: Request, wrong: Exception) -> Response:
    """Starlette's handler for everything else. (Starlette's server middleware logs the traceback itself.)"""
    return error_answer(request, FAULT)
