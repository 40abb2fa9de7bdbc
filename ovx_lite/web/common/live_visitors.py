"""Streams of how many visitors a site has now: one count for all who listen, at most once a second."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.services import Services
from ovx_lite.storage.priority import PEOPLE, Requester
from ovx_lite.storage.write import alerts

MAX_LISTENERS = 1_000
MAX_PUBLIC_LISTENERS = 900
MAX_LISTENERS_OF_LINK = 500
"""Listeners in all; of public links, so that people who are signed in always have room; and of one such link."""

_RECOUNT_PAUSE_S = 1
_HEARTBEAT_S = 15  # after which a site is counted again without any news, as visitors leave without a word
_SLOW_READER_TIMEOUT_S = 10  # how long a message may wait until the listener has read those before it
_RETRY_AFTER_S = 30

_log = logging.getLogger("ovx_lite")


class ListenGrant(msgspec.Struct, frozen=True):
    """Why somebody may listen: a session or a public link, named by `key`; `link` is the link's token, or `""`."""

    key: object
    link_token: str
    is_valid: Callable[[], Awaitable[bool]]


class _Listener:
    """Somebody who listens: the latest number they are to be told, or that it is over."""

    def __init__(self, grant: ListenGrant) -> None:
        self.grant = grant
        self.active: int | None = None
        self.is_over = False
        self.changed = asyncio.Event()

    def push(self, active: int) -> None:
        self.active = active
        self.changed.set()

    def close(self) -> None:
        self.is_over = True
        self.changed.set()


class _SiteFeed:
    """A site's listeners, the latest number, and the task that counts as long as there are any."""

    def __init__(self) -> None:
        self.listeners: set[_Listener] = set()
        self.active: int | None = None
        self.task: asyncio.Task[None] | None = None


class LiveVisitors:
    """Counts a site's active visitors for all who listen to it."""

    def __init__(self, services: Services, notifier: Notifier) -> None:
        self.total_counts = 0  # since the start
        self._services = services
        self._notifier = notifier
        self._feeds: dict[int, _SiteFeed] = {}

    @property
    def listeners(self) -> int:
        """How many listen, to any site."""
        return sum(len(feed.listeners) for feed in self._feeds.values())

    @contextmanager
    def _subscribe(self, site_id: int, grant: ListenGrant) -> Iterator[_Listener]:
        """Listen to a site. Raises `ApiError` (`unavailable`) if too many listen already."""
        self._check_capacity(grant)
        feed = self._feeds.setdefault(site_id, _SiteFeed())
        listener = _Listener(grant)
        feed.listeners.add(listener)
        if feed.task is None:
            feed.task = asyncio.create_task(self._run_feed(site_id, feed))
        elif feed.active is not None:
            listener.push(feed.active)
        try:
            yield listener
        finally:
            feed.listeners.discard(listener)
            if not feed.listeners:
                self._remove(site_id, feed)
                feed.task.cancel()

    def _remove(self, site_id: int, feed: _SiteFeed) -> None:
        if self._feeds.get(site_id) is feed:
            del self._feeds[site_id]

    def _check_capacity(self, grant: ListenGrant) -> None:
        grants = [listener.grant for feed in self._feeds.values() for listener in feed.listeners]
        link_listeners = sum(other.link_token == grant.link_token for other in grants)
        public_listeners = sum(other.link_token != "" for other in grants)
        is_full = grant.link_token and (
            link_listeners >= MAX_LISTENERS_OF_LINK or public_listeners >= MAX_PUBLIC_LISTENERS
        )
        if is_full or len(grants) >= MAX_LISTENERS:
            message = "Too many are listening already: reload the page to see how many visitors there are."
            raise ApiError("unavailable", message, retry_after_s=_RETRY_AFTER_S)

    async def _run_feed(self, site_id: int, feed: _SiteFeed) -> None:
        try:
            with self._notifier.subscribe(site_id) as event:
                while site_id in self._services.sites.registry.sites_by_id and not self._notifier.closed:
                    event.clear()  # before it is counted: what comes from here on is heard
                    await self._recount(site_id, feed)
                    try:
                        async with asyncio.timeout(_HEARTBEAT_S):
                            await event.wait()
                            if not self._notifier.closed:
                                await asyncio.sleep(_RECOUNT_PAUSE_S)
                    except TimeoutError:
                        feed.active = None  # so that all are told, as a sign of life
        except Exception:
            _log.exception("the active visitors of a site cannot be counted")
        finally:
            self._remove(site_id, feed)
            for listener in feed.listeners:
                listener.close()

    async def _count(self, site_id: int) -> int:
        database, clock = self._services.database, self._services.clock
        requester, key = Requester(PEOPLE, "live"), (LiveVisitors, site_id)
        return await (
            await database.query(
                requester, key, lambda conn: alerts.count_active_visitors(conn, clock.now_ms(), site_id)
            )
        )

    async def _recount(self, site_id: int, feed: _SiteFeed) -> None:
        """Count, and tell those who may know."""
        try:
            grants = {listener.grant.key: listener.grant for listener in feed.listeners}
            revoked = {key for key, grant in grants.items() if not await grant.is_valid()}
            self.total_counts += 1
            active = await self._count(site_id)
        except (ApiError, sqlite3.OperationalError):
            return  # the next time, then
        for listener in list(feed.listeners):
            if listener.grant.key in revoked:
                listener.close()
            elif listener.active is None or active != feed.active:
                listener.push(active)
        feed.active = active

    def stream(self, site_id: int, grant: ListenGrant) -> "LiveStream":
        """Return the stream of a site's active visitors (Server-Sent Events), for as long as the right holds."""
        return LiveStream(lambda: self._subscribe(site_id, grant))


class LiveStream(StreamingResponse):
    """A stream for one listener, who is counted as such while it lasts; one who does not read is dropped."""

    def __init__(self, subscribe: Callable[[], AbstractContextManager[_Listener]]) -> None:
        # nginx would keep what comes until there is more of it, but for this header.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), headers=headers, media_type="text/event-stream")
        self._subscribe = subscribe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until it is over, or the caller hangs up. Raises `ApiError` if too many listen."""
        with self._subscribe() as listener:
            self.body_iterator = _messages(listener)
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send messages, as long as they are read."""

        async def send_with_timeout(message: Message) -> None:
            async with asyncio.timeout(_SLOW_READER_TIMEOUT_S):
                await send(message)

        try:
            await super().stream_response(send_with_timeout)
        except TimeoutError:
            return  # without an end: the server closes the connection


async def _messages(listener: _Listener) -> AsyncIterator[bytes]:
    """Yield a message for each number that the listener is told, and a comment if it is the same again."""
    last_sent: int | None = None
    while True:
        await listener.changed.wait()
        listener.changed.clear()
        if listener.is_over:
            return
        yield (
            b": nothing new\n\n"
            if listener.active == last_sent
            else b'data: {"active": %d}\n\n' % (listener.active or 0)
        )
        last_sent = listener.active
