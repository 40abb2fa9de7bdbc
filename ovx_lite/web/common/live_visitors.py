"""Streams of the number of active visitors of a site: one count for all listeners, at most once a second."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.services import Services
from ovx_lite.storage.priority import PEOPLE, Requester
from ovx_lite.web.common.server_sent_events import HEARTBEAT_S, KEEP_ALIVE, EventStream, Update, messages_on_change

MAX_LISTENERS = 1_000
MAX_PUBLIC_LISTENERS = 900
MAX_LISTENERS_OF_LINK = 500
"""Limits on listeners: in total, on all public links (the rest is for people who are logged in), and on one of them."""

_RECOUNT_PAUSE_S = 1
_RETRY_AFTER_S = 30

_log = logging.getLogger("ovx_lite")


class ListenGrant(msgspec.Struct, frozen=True):
    """Why somebody may listen: `key` identifies their session or public link; `link_token` is `""` for a session."""

    key: object
    link_token: str
    is_valid: Callable[[], Awaitable[bool]]


class _Listener:
    """A connection that listens: the latest number it should get, and whether the stream is over."""

    def __init__(self, grant: ListenGrant) -> None:
        self.grant = grant
        self.active: int | None = None
        self.is_over = False
        self.changed = asyncio.Event()
        self._last_sent: int | None = None

    def push(self, active: int) -> None:
        self.active = active
        self.changed.set()

    def close(self) -> None:
        self.is_over = True
        self.changed.set()

    async def read(self) -> Update:
        """Return a message with the number, or a comment if it is the same again."""
        if self.is_over:
            return Update(b"", is_last=True)
        if self.active is None:
            return Update(b"")  # not counted yet
        if self.active == self._last_sent:
            return Update(KEEP_ALIVE)
        self._last_sent = self.active
        return Update(b'data: {"active": %d}\n\n' % self.active)


class _SiteFeed:
    """A site's listeners, the latest number, and the task that counts while there are listeners."""

    def __init__(self) -> None:
        self.listeners: set[_Listener] = set()
        self.active: int | None = None
        self.task: asyncio.Task[None] | None = None


class LiveVisitors:
    """Counts the active visitors of a site for all its listeners. `total_counts` is since the start."""

    def __init__(self, services: Services, notifier: Notifier) -> None:
        self.total_counts = 0
        self._services = services
        self._notifier = notifier
        self._feeds: dict[int, _SiteFeed] = {}

    @property
    def listeners(self) -> int:
        """Return the number of listeners of all sites."""
        return sum(len(feed.listeners) for feed in self._feeds.values())

    @contextmanager
    def _subscribe(self, site_id: int, grant: ListenGrant) -> Iterator[_Listener]:
        """Yield a new listener of a site. Raises `ApiError` (`unavailable`) if there are too many."""
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
            message = "Too many pages show live visitors already: reload this page to update the number."
            raise ApiError("unavailable", message, retry_after_s=_RETRY_AFTER_S)

    async def _run_feed(self, site_id: int, feed: _SiteFeed) -> None:
        try:
            with self._notifier.subscribe(site_id) as event:
                while site_id in self._services.sites.registry.sites_by_id and not self._notifier.closed:
                    event.clear()  # before counting, so that a change during it is not missed
                    await self._recount(site_id, feed)
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await event.wait()
                            if not self._notifier.closed:
                                await asyncio.sleep(_RECOUNT_PAUSE_S)
                    except TimeoutError:  # count again, as visitors become inactive without an event
                        feed.active = None  # so that all listeners get a message, as a heartbeat
        except Exception:
            _log.exception("could not count the active visitors of a site")
        finally:
            self._remove(site_id, feed)
            for listener in feed.listeners:
                listener.close()

    async def _count(self, site_id: int) -> int:
        database, clock = self._services.database, self._services.clock
        requester, key = Requester(PEOPLE, "live"), (LiveVisitors, site_id)
        await self._services.projector.catch_up_to_read()
        return await (
            await database.query(requester, key, lambda reader: reader.count_active_visitors(site_id, clock.now_ms()))
        )

    async def _recount(self, site_id: int, feed: _SiteFeed) -> None:
        """Count, send the number to the listeners, and close those whose grant was revoked."""
        try:
            grants = {listener.grant.key: listener.grant for listener in feed.listeners}
            revoked = {key for key, grant in grants.items() if not await grant.is_valid()}
            self.total_counts += 1
            active = await self._count(site_id)
        except (ApiError, sqlite3.OperationalError):
            return  # it counts again at the next change or heartbeat
        for listener in list(feed.listeners):
            if listener.grant.key in revoked:
                listener.close()
            elif listener.active is None or active != feed.active:
                listener.push(active)
        feed.active = active

    def stream(self, site_id: int, grant: ListenGrant) -> EventStream[_Listener]:
        """Return a stream (Server-Sent Events) of a site's active visitors, which ends when the grant is revoked.

        When the response is sent, it raises `ApiError` (`unavailable`) if too many listen already.
        """
        # The feed sends a heartbeat to all its listeners.
        return EventStream(
            lambda: self._subscribe(site_id, grant),
            lambda listener: messages_on_change(listener.changed, listener.read, heartbeat_s=None),
        )
