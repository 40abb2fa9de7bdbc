"""Who may do what in the pages: only pages of ours may send forms, and only those who logged in may see them."""

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
    # With `no-referrer`, browsers would not say in `Origin` where a form comes from.
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
"""The headers of a page that may stand in pages of others."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class CrossOriginProtection:
    """Refuses what other pages send, and has browsers keep others out of ours."""

    def __init__(self, app: Starlette, base_url: str) -> None:
        self._app = app
        self._origin = _origin(base_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
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
                    headers["Cache-Control"] = "no-store"  # so that "back" shows what is, not what was
            await send(message)

        if scope["method"] in _SAFE_METHODS or self._is_same_origin(scope):
            await self._app(scope, receive, send_with_headers)
            return
        scope["app"] = self._app
        error = ApiError("forbidden", "A page of another site has sent this: go to ovx-lite, and do it there.")
        await error_response(Request(scope, receive), error)(scope, receive, send_with_headers)

    def _is_same_origin(self, scope: Scope) -> bool:
        """Whether a page of ours has sent this, as the browser says; other programs send no such headers."""
        headers = Headers(scope=scope)
        fetch_site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if fetch_site is not None:
            return fetch_site in ("same-origin", "none")
        return origin is None or origin in _own_origins(scope, self._origin)


def _own_origins(scope: Scope, base_origin: str) -> set[str]:
    """The origins of our own pages: of the base URL, if there is one, and of the host that this request is to."""
    host = Headers(scope=scope).get("host", "")
    return {base_origin, f"{scope['scheme']}://{host}" if host else ""} - {""}


def _origin(url: str) -> str:
    """The origin of a URL, as browsers write it; `""` for what is no URL of a host."""
    try:
        parts = urlsplit(url.lower())
    except ValueError:
        return ""
    if not parts.netloc:
        return ""
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(default_port)}"


class HostCheck:
    """Answers only requests to hosts that are ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises `ApiError`."""
        context(Request(scope)).hosts.check(scope["headers"])
        await self._app(scope, receive, send)


class FormOriginCheck:
    """Refuses forms that do not say which page sent them: in `Sec-Fetch-Site` or `Origin`, or at least in `Referer`.

    It is for the routes of pages, whose cookie a browser adds by itself. Programs send a key, and need no such header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises `ApiError`."""
        headers = Headers(scope=scope)
        has_origin = "sec-fetch-site" in headers or "origin" in headers  # `Guard` has seen that it is ours
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
    """Lets in those who have logged in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or ask who it is."""
        request = Request(scope, receive)
        session = await find_session(request)
        if session is not None:
            request.state.session = session
            await self._app(scope, receive, send)
        elif request.method not in _SAFE_METHODS or not wants_html(request):
            raise ApiError("unauthorized", "You are not logged in any more: log in, and do it again.")
        else:
            await RedirectResponse(_login_url(request), 303)(scope, receive, send)


def _login_url(request: Request) -> str:
    next_path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{context(request).root}/login" + (f"?next={quote(next_path)}" if next_path != "/" else "")


async def find_session(request: Request) -> bytes | None:
    """The session that a browser shows, as the store knows it; None if there is none, or it has ended."""
    token = request.session.get("id")
    if not isinstance(token, str):
        return None
    ui, digest = context(request), sha256(token.encode()).digest()
    is_active = await ui.read(accounts.has_session, digest, ui.services.clock.now_ms())
    return digest if is_active else None
