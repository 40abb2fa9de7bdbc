"""Refusals and faults of all but the ingestion endpoints: a page for a browser's window, else the contract's JSON."""

import logging
from difflib import get_close_matches

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects import ENDPOINTS
from ovx_lite.domain.errors import ApiError
from ovx_lite.http.responses import INTERNAL_ERROR, error_body, error_headers
from ovx_lite.web.common.templating import error_page, wants_html

_log = logging.getLogger("ovx_lite")
_MAX_PATH_LENGTH = 100
_MIN_SIMILARITY = 0.7
_CODE_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def error_response(request: Request, error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """What a refusal looks like to whoever asks."""
    if wants_html(request):
        response = error_page(request, error)
    else:
        response = Response(error_body(error), error.status, media_type="application/json")
    for name, value in error_headers(error):
        response.headers[name.decode()] = value.decode()
    response.headers.update(headers or {})
    return response


async def on_api_error(request: Request, exc: Exception) -> Response:
    """Starlette's handler for `ApiError`."""
    assert isinstance(exc, ApiError)
    return error_response(request, exc)


async def on_http_exception(request: Request, exc: Exception) -> Response:
    """Starlette's handler for what its router refuses: unknown paths and methods."""
    assert isinstance(exc, HTTPException)
    code = _CODE_BY_STATUS.get(exc.status_code, "invalid_request")
    path, message = request.url.path, exc.detail
    if code == "not_found":
        return error_response(request, unknown_path(path))
    if code == "method_not_allowed":
        message = f"{request.method} is not possible at {_printable(path)}: see the header Allow."
    return error_response(request, ApiError(code, message), dict(exc.headers or {}))


def unknown_path(path: str) -> ApiError:
    """The refusal for a path that is nobody's, with the endpoint that it may have meant."""
    similar_paths = get_close_matches(
        path[:_MAX_PATH_LENGTH], [endpoint.path for endpoint in ENDPOINTS], 1, _MIN_SIMILARITY
    )
    hint = f"did you mean {similar_paths[0]}?" if similar_paths else "see /openapi.json for the endpoints."
    return ApiError("not_found", f"There is nothing at {_printable(path)}: {hint}")


def _printable(path: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in path)


async def on_store_error(request: Request, exc: Exception) -> Response:
    """Starlette's handler for a store that cannot be written, or read, now."""
    _log.error("the store cannot be used: %s", exc)
    message = "The store cannot be used now: see that its disk has room. Nothing was changed; try it again in a moment."
    return error_response(request, ApiError("unavailable", message, retry_after_s=1))


async def on_internal_error(request: Request, exc: Exception) -> Response:
    """Starlette's handler for everything else. (Starlette's server middleware logs the traceback itself.)"""
    return error_response(request, INTERNAL_ERROR)
