"""Who may do what in the pages: only pages of ours may send forms, and only those who logged in may see them."""

from hashlib import sha256
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.domain.errors import Refused
from ovx_lite.http import request_id
from ovx_lite.storage import accounts
from ovx_lite.web.common.context import desk
from ovx_lite.web.common.error_handlers import error_answer
from ovx_lite.web.common.templating import wants_html

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With `no-referrer`, browsers would not say in `Origin` where a form comes from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
EMBEDDED = {
    "Content-Security-Policy": _HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors *"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""The headers of a page that may stand in pages of others."""

_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses what other pages send, and has browsers keep others out of ours."""

    def __init__(self, app: Starlette, base_url: str) -> None:
        self._app = app
        self._origin = _origin(base_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        id = request_id.begin(scope["headers"]).decode()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = id
                embedded = headers.get("content-security-policy") == EMBEDDED["Content-Security-Policy"]
                for name, value in _HEADERS.items():
                    if not (embedded and name == "X-Frame-Options"):
                        headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html") or 300 <= message["status"] < 304:
                    headers["Cache-Control"] = "no-store"  # so that "back" shows what is, not what was
            await send(message)

        if scope["method"] in _SAFE or self._is_ours(scope):
            await self._app(scope, receive, guarded)
            return
        scope["app"] = self._app
        refused = Refused("forbidden", "A page of another site has sent this: go to ovx-lite, and do it there.")
        await error_answer(Request(scope, receive), refused)(scope, receive, guarded)

    def _is_ours(self, scope: Scope) -> bool:
        """Whether a page of ours has sent this, as the browser says; other programs send no such headers."""
        headers = Headers(scope=scope)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            return site in ("same-origin", "none")
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
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(usual)}"


class KnownHost:
    """Answers only requests to hosts that are ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises `Refused`."""
        desk(Request(scope)).hosts.check(scope["headers"])
        await self._app(scope, receive, send)


class FormOrigin:
    """Refuses forms that do not say which page sent them: in `Sec-Fetch-Site` or `Origin`, or at least in `Referer`.

    It is for the routes of pages, whose cookie a browser adds by itself. Programs send a key, and need no such header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises `Refused`."""
        headers = Headers(scope=scope)
        says_origin = "sec-fetch-site" in headers or "origin" in headers  # `Guard` has seen that it is ours
        if scope["method"] not in _SAFE and not says_origin:
            base_origin = _origin(desk(Request(scope)).base_url)
            if _origin(headers.get("referer", "")) not in _own_origins(scope, base_origin):
                raise Refused(
                    "forbidden",
                    "This form does not say which page sent it: send it from ovx-lite's own pages, with one of the "
                    "headers Sec-Fetch-Site, Origin or Referer.",
                )
        await self._app(scope, receive, send)


class SignedIn:
    """Lets in those who have logged in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or ask who it is."""
        request = Request(scope, receive)
        session = await session_of(request)
        if session is not None:
            request.state.session = session
            await self._app(scope, receive, send)
        elif request.method not in _SAFE or not wants_html(request):
            raise Refused("unauthorized", "You are not logged in any more: log in, and do it again.")
        else:
            await RedirectResponse(_login(request), 303)(scope, receive, send)


def _login(request: Request) -> str:
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{desk(request).root}/login" + (f"?next={quote(asked)}" if asked != "/" else "")


async def session_of(request: Request) -> bytes | None:
    """The session that a browser shows, as the store knows it; None if there is none, or it has ended."""
    token = request.session.get("id")
    if not isinstance(token, str):
        return None
    place, digest = desk(request), sha256(token.encode()).digest()
    known = await place.read(accounts.has_session, digest, place.house.clock.now())
    return digest if known else None
