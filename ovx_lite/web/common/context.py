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
from ovx_lite.auth.login_throttle import Tries
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.hosts import Hosts
from ovx_lite.domain.models import Site
from ovx_lite.http.body import Bodies
from ovx_lite.http.hang_up import hang_up
from ovx_lite.services.notifier import News
from ovx_lite.services.rejected import Missing
from ovx_lite.services.scheduler import Household
from ovx_lite.storage import accounts, registry
from ovx_lite.storage.priority import PEOPLE, Asker
from ovx_lite.web.common.live_visitors import LiveVisitors
from ovx_lite.webhooks.ssrf import Network

Page = Callable[[Request], Awaitable[Response]]
Door = tuple[str, str, Page]
"""Method, path and function of a page."""

Doors = list[Door]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOST_NOTICES = 100
_MINUTE_MS = 60_000


class Notice(NamedTuple):
    """What the next page says first: what was done; and a secret that is shown this once, what it is, and whose."""

    text: str
    secret: str = ""
    what: str = ""
    whose: str = ""


class Notices:
    """Words that wait for the page that a form leads to, in memory alone: no secret is in a URL, a cookie or a log."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, str, str], Notice] = {}

    def leave(self, session: bytes, path: str, notice: Notice) -> None:
        """Leave a notice for a page of whoever has this session. A later one on the same thing takes its place."""
        while len(self._waiting) >= _MOST_NOTICES:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[session, path, notice.whose] = notice

    def has(self, session: bytes | None, path: str) -> bool:
        """Whether there are notices for a page."""
        return any(key[:2] == (session, path) for key in self._waiting)

    def take(self, session: bytes | None, path: str) -> list[Notice]:
        """The notices that were left for a page, once."""
        return [self._waiting.pop(key) for key in list(self._waiting) if key[:2] == (session, path)]


class Desk(msgspec.Struct):
    """What the pages have at hand.

    `hosts` are those that pages answer to; `kept` are dashboards that were made a moment ago, by place and view: until
    when they are good (Unix ms), and the page. `live` streams how many visitors sites have now.
    `setup_token` opens `/setup` as long as there is no password, else it is `""`; `password_given` says that the
    password comes from the environment; `allowed` is where webhooks may go, too; `missing` is what was refused lately.
    Passwords are hashed `one_at_a_time`: each takes 16 MiB and a good part of a core.
    """

    house: Household
    news: News
    bodies: Bodies
    base_url: str
    hosts: Hosts
    allowed: Sequence[Network]
    setup_token: str
    missing: Missing
    authenticator: Authenticator
    live: LiveVisitors
    password_given: bool = False
    notices: Notices = msgspec.field(default_factory=Notices)
    tries: Tries = msgspec.field(default_factory=Tries)
    one_at_a_time: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    kept: dict[Hashable, tuple[int, bytes]] = msgspec.field(default_factory=dict)

    @property
    def root(self) -> str:
        """The path that all of ours begin with behind a proxy, like `/stats`; mostly `""`."""
        return urlsplit(self.base_url).path

    def url(self, request: Request) -> str:
        """The URL that the world knows the server by, or else the one that this request knows it by."""
        return self.base_url or f"{request.url.scheme}://{request.url.netloc}"

    async def read(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the store over a connection that reads."""
        return await self.house.database.read(do, *args, **kwargs)

    async def change(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the store that changes it, and have the server look at what it changed."""
        changed = await self.house.database.write(do, *args, **kwargs)
        await self.house.sites.refresh()
        self.house.sender.wake()
        return changed

    async def stats_site(self, authorization: str, site: str) -> Site:
        """Return the site whose statistics this `Authorization` header may read. Raises `Refused`.

        `site` is the id that the request names, `""` if it names none.
        """
        now_ms = self.house.clock.now()
        try:
            caller = self.authenticator.authenticate(authorization, site, now_ms)
        except Refused:
            await self.authenticator.refresh(site)  # the key may be newer than what is in memory
            caller = self.authenticator.authenticate(authorization, site, now_ms)
        if not caller.may_read_stats:
            message = 'This JWT may only send events: add the claim "stats": true, or use an API key.'
            raise Refused("forbidden", message)
        return caller.site

    async def body(self, request: Request, largest: int) -> bytes:
        """The body of a request, of at most so many bytes. Raises `Refused`."""
        length = request.headers.get("content-length")
        return await self.bodies.read(request.receive, None if length is None else length.encode("latin-1"), largest)

    async def set_password(self, password: str) -> str:
        """Have another password; all sessions end, and nothing is left to set up. Returns its hash."""
        hashed = await asyncio.to_thread(passwords.hashed, password, secrets.token_bytes(16))
        await self.house.database.write(accounts.set_password, hashed)
        self.setup_token = ""
        return hashed


async def run_query(request: Request, asker: Asker, do: Callable[[sqlite3.Connection, int, *Ts], T], *args: *Ts) -> T:
    """Return `do(conn, now_ms, *args)`, which may take long; end it if the caller hangs up meanwhile.

    Equal arguments give equal results for the same data: then it is done once for all who ask. Raises `Refused`
    (`unavailable`) if too many wait already, or it takes too long.
    """
    database, clock = desk(request).house.database, desk(request).house.clock
    # A result is shared within a minute, since it may be of a period that ends now.
    key = (do, args, clock.now() // _MINUTE_MS)
    ticket = await database.query(asker, key, lambda conn: do(conn, clock.now(), *args))
    watcher = asyncio.create_task(hang_up(request.scope, request.receive))
    watcher.add_done_callback(partial(_cancel, ticket))
    try:
        return await ticket
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            message = "The connection was closed at your end: keep it open until the answer is there."
            raise Refused("unavailable", message, retry_after=1) from None
        raise
    finally:
        watcher.cancel()
        del ticket  # it would hold the exception, which holds this frame


def _cancel(ticket: asyncio.Future[Any], _: object) -> None:
    ticket.cancel()


def signed_in(request: Request) -> Asker:
    """Return who asks, where people are signed in."""
    return Asker(PEOPLE, request.state.session.hex())


def desk(request: Request) -> Desk:
    """The pages' desk."""
    found: Desk = request.app.state.desk
    return found


async def site_of(request: Request) -> Site:
    """The site that the path names. Raises `Refused` (`invalid_site_id`) if there is none."""
    return await desk(request).read(registry.find_site, request.path_params["site"])


def not_here(what: str) -> Refused:
    """The refusal for what the path names, and the site does not have."""
    return Refused("not_found", f"This site has no such {what}; it may have been removed meanwhile.")


def go_to(request: Request, path: str, notice: Notice | None = None) -> Response:
    """Lead to another page, after a form was done, and have it say so."""
    place = desk(request)
    if notice is not None:
        place.notices.leave(request.state.session, path.partition("?")[0].partition("#")[0], notice)
    return RedirectResponse(place.root + path, 303)
