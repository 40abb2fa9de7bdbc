"""What the pages for people have at hand, and where they lead."""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.login_throttle import LoginThrottle
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import AllowedHosts
from ovx_lite.domain.models import Site
from ovx_lite.http.body import BodyReader
from ovx_lite.http.hang_up import wait_for_hang_up
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.scheduler import Services
from ovx_lite.storage import accounts, registry
from ovx_lite.storage.priority import PEOPLE, Requester
from ovx_lite.web.common.live_visitors import LiveVisitors
from ovx_lite.webhooks.ssrf import Network

Handler = Callable[[Request], Awaitable[Response]]
RouteSpec = tuple[str, str, Handler]
"""Method, path and function of a page."""

RouteTable = list[RouteSpec]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MAX_FLASH_MESSAGES = 100
_MINUTE_MS = 60_000


class FlashMessage(NamedTuple):
    """What the next page says first: what was done; and a secret that is shown this once, what it is, and whose."""

    text: str
    secret: str = ""
    secret_label: str = ""
    subject_id: str = ""


class FlashMessages:
    """Words that wait for the page that a form leads to, in memory alone: no secret is in a URL, a cookie or a log."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, str, str], FlashMessage] = {}

    def add(self, session: bytes, path: str, message: FlashMessage) -> None:
        """Leave a notice for a page of whoever has this session. A later one on the same thing takes its place."""
        while len(self._waiting) >= _MAX_FLASH_MESSAGES:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[session, path, message.subject_id] = message

    def has(self, session: bytes | None, path: str) -> bool:
        """Whether there are notices for a page."""
        return any(key[:2] == (session, path) for key in self._waiting)

    def pop(self, session: bytes | None, path: str) -> list[FlashMessage]:
        """The notices that were left for a page, once."""
        return [self._waiting.pop(key) for key in list(self._waiting) if key[:2] == (session, path)]


class UiContext(msgspec.Struct):
    """What the pages have at hand.

    `hosts` are those that pages answer to; `kept` are dashboards that were made a moment ago, by place and view: until
    when they are good (Unix ms), and the page. `live` streams how many visitors sites have now.
    `setup_token` opens `/setup` as long as there is no password, else it is `""`; `password_given` says that the
    password comes from the environment; `allowed` is where webhooks may go, too; `missing` is what was refused lately.
    Passwords are hashed `one_at_a_time`: each takes 16 MiB and a good part of a core.
    """

    services: Services
    notifier: Notifier
    body_reader: BodyReader
    base_url: str
    hosts: AllowedHosts
    webhook_networks: Sequence[Network]
    setup_token: str
    rejected_events: RejectedEvents
    authenticator: Authenticator
    live_visitors: LiveVisitors
    password_from_env: bool = False
    flash_messages: FlashMessages = msgspec.field(default_factory=FlashMessages)
    login_throttle: LoginThrottle = msgspec.field(default_factory=LoginThrottle)
    hashing_lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    dashboard_cache: dict[Hashable, tuple[int, bytes]] = msgspec.field(default_factory=dict)

    @property
    def root(self) -> str:
        """The path that all of ours begin with behind a proxy, like `/stats`; mostly `""`."""
        return urlsplit(self.base_url).path

    def public_url(self, request: Request) -> str:
        """The URL that the world knows the server by, or else the one that this request knows it by."""
        return self.base_url or f"{request.url.scheme}://{request.url.netloc}"

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function of the store over a connection that reads."""
        return await self.services.database.read(function, *args, **kwargs)

    async def change(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function of the store that changes it, and have the server look at what it changed."""
        result = await self.services.database.write(function, *args, **kwargs)
        await self.services.sites.refresh()
        self.services.sender.wake()
        return result

    async def stats_site(self, authorization: str, site_slug: str) -> Site:
        """Return the site whose statistics this `Authorization` header may read. Raises `Refused`.

        `site` is the id that the request names, `""` if it names none.
        """
        now_ms = self.services.clock.now_ms()
        try:
            principal = self.authenticator.authenticate(authorization, site_slug, now_ms)
        except ApiError:
            await self.authenticator.refresh(site_slug)  # the key may be newer than what is in memory
            principal = self.authenticator.authenticate(authorization, site_slug, now_ms)
        if not principal.may_read_stats:
            message = 'This JWT may only send events: add the claim "stats": true, or use an API key.'
            raise ApiError("forbidden", message)
        return principal.site

    async def read_body(self, request: Request, max_bytes: int) -> bytes:
        """The body of a request, of at most so many bytes. Raises `Refused`."""
        content_length = request.headers.get("content-length")
        return await self.body_reader.read(
            request.receive, None if content_length is None else content_length.encode("latin-1"), max_bytes
        )

    async def set_password(self, password: str) -> str:
        """Have another password; all sessions end, and nothing is left to set up. Returns its hash."""
        password_hash = await asyncio.to_thread(passwords.hash_password, password, secrets.token_bytes(16))
        await self.services.database.write(accounts.set_password, password_hash)
        self.setup_token = ""
        return password_hash


async def run_query(
    request: Request, requester: Requester, function: Callable[[sqlite3.Connection, int, *Ts], T], *args: *Ts
) -> T:
    """Return `do(conn, now_ms, *args)`, which may take long; end it if the caller hangs up meanwhile.

    Equal arguments give equal results for the same data: then it is done once for all who ask. Raises `Refused`
    (`unavailable`) if too many wait already, or it takes too long.
    """
    database, clock = context(request).services.database, context(request).services.clock
    # A result is shared within a minute, since it may be of a period that ends now.
    key = (function, args, clock.now_ms() // _MINUTE_MS)
    ticket = await database.query(requester, key, lambda conn: function(conn, clock.now_ms(), *args))
    hang_up_task = asyncio.create_task(wait_for_hang_up(request.scope, request.receive))
    hang_up_task.add_done_callback(partial(_cancel, ticket))
    try:
        return await ticket
    except asyncio.CancelledError:
        if hang_up_task.done() and not hang_up_task.cancelled():
            message = "The connection was closed at your end: keep it open until the answer is there."
            raise ApiError("unavailable", message, retry_after_s=1) from None
        raise
    finally:
        hang_up_task.cancel()
        del ticket  # it would hold the exception, which holds this frame


def _cancel(ticket: asyncio.Future[Any], _: object) -> None:
    ticket.cancel()


def session_requester(request: Request) -> Requester:
    """Return who asks, where people are signed in."""
    return Requester(PEOPLE, request.state.session.hex())


def context(request: Request) -> UiContext:
    """The pages' desk."""
    ui: UiContext = request.app.state.ui
    return ui


async def site_from_path(request: Request) -> Site:
    """The site that the path names. Raises `Refused` (`invalid_site_id`) if there is none."""
    return await context(request).read(registry.find_site, request.path_params["site"])


def not_found(label: str) -> ApiError:
    """The refusal for what the path names, and the site does not have."""
    return ApiError("not_found", f"This site has no such {label}; it may have been removed meanwhile.")


def redirect_to(request: Request, path: str, message: FlashMessage | None = None) -> Response:
    """Lead to another page, after a form was done, and have it say so."""
    ui = context(request)
    if message is not None:
        ui.flash_messages.add(request.state.session, path.partition("?")[0].partition("#")[0], message)
    return RedirectResponse(ui.root + path, 303)
