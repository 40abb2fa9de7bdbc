"""Protection of the web pages: against forms and frames of other sites, foreign host names, and without a login."""

from hashlib import sha256
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.http import request_id
from ovx_lite.storage import accounts
from ovx_lite.web.common.context import context
from ovx_lite.web.common.error_handlers import error_response
from ovx_lite.web.common.templating import wants_html

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With `no-referrer`, browsers would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
EMBEDDABLE_HEADERS = {
    "Content-Security-Policy": _SECURITY_HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors *"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""Headers of a page that other sites may embed in a frame."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class CrossOriginProtection:
    """Rejects unsafe requests from pages of other origins, and adds security headers and the request ID to responses.

    As in Go's `http.CrossOriginProtection`, browsers say in `Sec-Fetch-Site` or `Origin` which page sends a form.
    """

    def __init__(self, app: Starlette, base_url: str) -> None:
        self._app = app
        self._origin = _origin(base_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        id = request_id.assign(scope["headers"]).decode()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = id
                is_embeddable = headers.get("content-security-policy") == EMBEDDABLE_HEADERS["Content-Security-Policy"]
                for name, value in _SECURITY_HEADERS.items():
                    if not (is_embeddable and name == "X-Frame-Options"):
                        headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html") or 300 <= message["status"] < 304:
                    headers["Cache-Control"] = "no-store"  # so that the browser's back button loads the page again
            await send(message)

        if scope["method"] in _SAFE_METHODS or self._is_same_origin(scope):
            await self._app(scope, receive, send_with_headers)
            return
        scope["app"] = self._app
        error = ApiError("forbidden", "A page of another site sent this request: repeat the action in ovx-lite itself.")
        await error_response(Request(scope, receive), error)(scope, receive, send_with_headers)

    def _is_same_origin(self, scope: Scope) -> bool:
        """Return whether the browser says that one of our own pages sent this, or whether it is no browser.

        Programs other than browsers send neither `Sec-Fetch-Site` nor `Origin`.
        """
        headers = Headers(scope=scope)
        fetch_site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if fetch_site is not None:
            return fetch_site in ("same-origin", "none")
        return origin is None or origin in _own_origins(scope, self._origin)


def _own_origins(scope: Scope, base_origin: str) -> set[str]:
    """Return the origins of our own pages: that of the base URL, if it is set, and that of the request's host."""
    host = Headers(scope=scope).get("host", "")
    return {base_origin, f"{scope['scheme']}://{host}" if host else ""} - {""}


def _origin(url: str) -> str:
    """Return the origin of a URL as browsers write it; `""` if the URL is not valid or has no host."""
    try:
        parts = urlsplit(url.lower())
    except ValueError:
        return ""
    if not parts.netloc:
        return ""
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(default_port)}"


class HostCheck:
    """Rejects requests to unknown host names, which protects against DNS rebinding."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Raises `ApiError`."""
        context(Request(scope)).hosts.check(scope["headers"])
        await self._app(scope, receive, send)


class FormOriginCheck:
    """Rejects forms that do not say which page sent them: in `Sec-Fetch-Site`, `Origin` or `Referer`.

    It is for the routes of pages, which use a cookie that browsers send by themselves. The API uses keys, so its
    clients need none of these headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Raises `ApiError` (`forbidden`)."""
        headers = Headers(scope=scope)
        # `CrossOriginProtection` has checked these two.
        has_origin = "sec-fetch-site" in headers or "origin" in headers
        if scope["method"] not in _SAFE_METHODS and not has_origin:
            base_origin = _origin(context(Request(scope)).base_url)
            if _origin(headers.get("referer", "")) not in _own_origins(scope, base_origin):
                raise ApiError(
                    "forbidden",
                    "This form does not say which page sent it: send it from ovx-lite's own pages, with one of the "
                    "headers Sec-Fetch-Site, Origin or Referer.",
                )
        await self._app(scope, receive, send)


class LoginRequired:
    """Requires a session. Without one, a page redirects to the login page, and anything else is rejected."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Raises `ApiError` (`unauthorized`)."""
        request = Request(scope, receive)
        session = await find_session(request)
        if session is not None:
            request.state.session = session
            await self._app(scope, receive, send)
        elif request.method not in _SAFE_METHODS or not wants_html(request):
            raise ApiError("unauthorized", "You are no longer logged in: log in, and repeat the action.")
        else:
            await RedirectResponse(_login_url(request), 303)(scope, receive, send)


def _login_url(request: Request) -> str:
    next_path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{context(request).root}/login" + (f"?next={quote(next_path)}" if next_path != "/" else "")


async def find_session(request: Request) -> bytes | None:
    """Return the digest of the request's session, which identifies it in the store; `None` if none is active."""
    token = request.session.get("id")
    if not isinstance(token, str):
        return None
    ui, digest = context(request), sha256(token.encode()).digest()
    is_active = await ui.read(accounts.has_session, digest, ui.services.clock.now_ms())
    return digest if is_active else None
