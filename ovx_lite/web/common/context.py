"""`UiContext`: what request handlers use, and helpers for handlers (current site, queries, redirects)."""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import msgspec
from cachetools import FIFOCache
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.login_throttle import LoginThrottle
from ovx_lite.domain.calendar import MINUTE_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import AllowedHosts
from ovx_lite.domain.models import Site
from ovx_lite.http.body import BodyReader
from ovx_lite.http.hang_up import wait_for_hang_up
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.services import Services
from ovx_lite.storage import accounts, registry
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.priority import PEOPLE, Requester
from ovx_lite.web.common.live_visitors import LiveVisitors
from ovx_lite.webhooks.ssrf import Network

Handler = Callable[[Request], Awaitable[Response]]
RouteSpec = tuple[str, str, Handler]
"""HTTP method, path and handler."""

RouteTable = list[RouteSpec]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MAX_FLASH_MESSAGES = 100
_MAX_CACHED_DASHBOARDS = 50


class FlashMessage(NamedTuple):
    """What the next page shows first: what was done, and possibly a secret that is shown only this once.

    `secret_label` says what the secret is, `subject_id` is the public ID of the thing that it belongs to.
    """

    text: str
    secret: str = ""
    secret_label: str = ""
    subject_id: str = ""


class FlashMessages:
    """Messages for the page that a form leads to. They are in memory only, so no secret is in a URL, cookie or log.

    Above `_MAX_FLASH_MESSAGES` the oldest are dropped.
    """

    def __init__(self) -> None:
        self._waiting: FIFOCache[tuple[bytes, str, str], FlashMessage] = FIFOCache(_MAX_FLASH_MESSAGES)

    def add(self, session: bytes, path: str, message: FlashMessage) -> None:
        """Add a message for a page of a session. It replaces an earlier message about the same subject."""
        self._waiting[session, path, message.subject_id] = message

    def has(self, session: bytes | None, path: str) -> bool:
        """Return whether there are messages for a page of a session."""
        return any(key[:2] == (session, path) for key in self._waiting)

    def pop(self, session: bytes | None, path: str) -> list[FlashMessage]:
        """Remove and return the messages for a page of a session."""
        return [self._waiting.pop(key) for key in list(self._waiting) if key[:2] == (session, path)]


class UiContext(msgspec.Struct):
    """What request handlers use.

    `base_url` is the public URL of the server, `""` if it is not set. `hosts` are the host names under which pages
    answer. `webhook_networks` are the extra networks that webhooks may call. `setup_token` opens `/setup`; it is `""`
    once there is a password. `rejected_events` are the latest rejected requests, for the page Missing events.
    `live_visitors` streams the number of active visitors. `password_from_env` means that the environment sets the
    password. `hashing_lock` makes password hashing serial, because each hash takes 16 MiB and much of a core.
    `dashboard_cache` holds recent dashboards by location and state: when they expire (Unix ms), and the page.
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
    dashboard_cache: FIFOCache[Hashable, tuple[int, bytes]] = msgspec.field(
        default_factory=lambda: FIFOCache(_MAX_CACHED_DASHBOARDS)
    )

    @property
    def root(self) -> str:
        """Return the path of the base URL, which all our URLs start with, such as `/stats`; usually `""`."""
        return urlsplit(self.base_url).path

    def public_url(self, request: Request) -> str:
        """Return the base URL of the server, or the one that this request uses if none is set."""
        return self.base_url or f"{request.url.scheme}://{request.url.netloc}"

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function of `storage` with a read connection, and return its result.

        For what is derived from events, use `read_events`.
        """
        return await self.services.database.read(function, *args, **kwargs)

    async def read_events(self, function: Callable[[EventReader], T]) -> T:
        """Run a function with an `EventReader` when all accepted events are projected. It must not take long."""
        await self.services.projector.catch_up_to_read()
        return await self.services.database.read_events(function)

    async def change(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function of `storage` with the write connection when all accepted events are projected.

        Return its result. It then reloads sites and keys and looks for due deliveries, because the function may have
        changed them.
        """
        result = await self.services.writer.change(function, *args, **kwargs)
        await self.services.sites.refresh()
        self.services.sender.wake()
        return result

    async def stats_site(self, authorization: str, site_slug: str) -> Site:
        """Return the site whose statistics this `Authorization` header may read. Raises `ApiError`.

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
        """Return the body of a request. Raises `ApiError` if it has more than `max_bytes` or does not arrive."""
        content_length = request.headers.get("content-length")
        return await self.body_reader.read(
            request.receive, None if content_length is None else content_length.encode("latin-1"), max_bytes
        )

    async def set_password(self, password: str) -> str:
        """Set the password, end all sessions, and close `/setup`. Returns the hash of the password."""
        password_hash = await asyncio.to_thread(passwords.hash_password, password, secrets.token_bytes(16))
        await self.services.database.write(accounts.set_password, password_hash)
        self.setup_token = ""
        return password_hash


async def run_query(
    request: Request, requester: Requester, function: Callable[[EventReader, int, *Ts], T], *args: *Ts
) -> T:
    """Return `function(reader, now_ms, *args)`, which may take long. It is cancelled if the client hangs up.

    Equal calls at the same time run once and share the result. Raises `ApiError` (`unavailable`) if too many queries
    wait already, or if it takes too long.
    """
    services = context(request).services
    database, clock = services.database, services.clock
    await services.projector.catch_up_to_read()
    # A result is shared only within a minute, because its date range may end now.
    key = (function, args, clock.now_ms() // MINUTE_MS)
    ticket = await database.query(requester, key, lambda reader: function(reader, clock.now_ms(), *args))
    hang_up_task = asyncio.create_task(wait_for_hang_up(request.scope, request.receive))
    hang_up_task.add_done_callback(partial(_cancel, ticket))
    try:
        return await ticket
    except asyncio.CancelledError:
        if hang_up_task.done() and not hang_up_task.cancelled():
            message = "The client has closed its end of the connection: keep it open until the response has arrived."
            raise ApiError("unavailable", message, retry_after_s=1) from None
        raise
    finally:
        hang_up_task.cancel()
        del ticket  # it holds the exception, whose traceback holds this frame


def _cancel(ticket: asyncio.Future[Any], _: object) -> None:
    ticket.cancel()


def session_requester(request: Request) -> Requester:
    """Return the requester of queries (see `run_query`) for a person who is logged in: their session."""
    return Requester(PEOPLE, request.state.session.hex())


def context(request: Request) -> UiContext:
    """Return the application's `UiContext`."""
    ui: UiContext = request.app.state.ui
    return ui


async def site_from_path(request: Request) -> Site:
    """Return the site that the path names. Raises `ApiError` (`invalid_site_id`) if there is none."""
    return await context(request).read(registry.find_site, request.path_params["site"])


def not_found(label: str) -> ApiError:
    """Return the error for a thing that the path names and the site does not have. `label` is for example "goal"."""
    return ApiError("not_found", f"This site has no such {label}. It may have been removed.")


def redirect_to(request: Request, path: str, message: FlashMessage | None = None) -> Response:
    """Redirect to another page after a form was handled. That page shows `message`."""
    ui = context(request)
    if message is not None:
        ui.flash_messages.add(request.state.session, path.partition("?")[0].partition("#")[0], message)
    return RedirectResponse(ui.root + path, 303)
