"""Error responses of all endpoints except ingestion: a page for browsers, else the error JSON."""

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
    """Return an error as a page or as JSON, whichever the client accepts, with extra `headers`."""
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
    """Starlette's handler for errors of its router: unknown paths and methods."""
    assert isinstance(exc, HTTPException)
    code = _CODE_BY_STATUS.get(exc.status_code, "invalid_request")
    path, message = request.url.path, exc.detail
    if code == "not_found":
        return error_response(request, unknown_path(path))
    if code == "method_not_allowed":
        message = f"{_printable(path)} does not support {request.method}: use a method of the Allow header."
    return error_response(request, ApiError(code, message), dict(exc.headers or {}))


def unknown_path(path: str) -> ApiError:
    """Return the error for an unknown path. It suggests a similar ingestion endpoint, if there is one."""
    similar_paths = get_close_matches(
        path[:_MAX_PATH_LENGTH], [endpoint.path for endpoint in ENDPOINTS], 1, _MIN_SIMILARITY
    )
    hint = f"did you mean {similar_paths[0]}?" if similar_paths else "see /openapi.json for the endpoints."
    return ApiError("not_found", f"There is nothing at {_printable(path)}: {hint}")


def _printable(path: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in path)


async def on_store_error(request: Request, exc: Exception) -> Response:
    """Starlette's handler for `sqlite3.OperationalError`: the store cannot be written or read."""
    _log.error("the store cannot be used: %s", exc)
    message = (
        "The store cannot be read or written now: check that its disk has free space. Nothing was changed. "
        "Try again in a moment."
    )
    return error_response(request, ApiError("unavailable", message, retry_after_s=1))


async def on_internal_error(request: Request, exc: Exception) -> Response:
    """Starlette's handler for everything else. (Starlette's server middleware logs the traceback itself.)"""
    return error_response(request, INTERNAL_ERROR)
