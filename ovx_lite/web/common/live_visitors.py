"""Streams of how many visitors a site has now: one count for all who listen, at most once a second."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ovx_lite.domain.errors import Refused
from ovx_lite.services.notifier import News
from ovx_lite.services.scheduler import Household
from ovx_lite.storage.priority import PEOPLE, Asker
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


class Right(msgspec.Struct, frozen=True):
    """Why somebody may listen: a session or a public link, named by `key`; `link` is the link's token, or `""`."""

    key: object
    link: str
    holds: Callable[[], Awaitable[bool]]


class _Listener:
    """Somebody who listens: the latest number they are to be told, or that it is over."""

    def __init__(self, right: Right) -> None:
        self.right = right
        self.active: int | None = None
        self.is_over = False
        self.changed = asyncio.Event()

    def tell(self, active: int) -> None:
        self.active = active
        self.changed.set()

    def end(self) -> None:
        self.is_over = True
        self.changed.set()


class _Channel:
    """A site's listeners, the latest number, and the task that counts as long as there are any."""

    def __init__(self) -> None:
        self.listeners: set[_Listener] = set()
        self.active: int | None = None
        self.task: asyncio.Task[None] | None = None


class LiveVisitors:
    """Counts a site's active visitors for all who listen to it."""

    def __init__(self, house: Household, news: News) -> None:
        self.counts = 0  # since the start
        self._house = house
        self._news = news
        self._channels: dict[int, _Channel] = {}

    @property
    def listeners(self) -> int:
        """How many listen, to any site."""
        return sum(len(channel.listeners) for channel in self._channels.values())

    @contextmanager
    def _listen(self, site: int, right: Right) -> Iterator[_Listener]:
        """Listen to a site. Raises `Refused` (`unavailable`) if too many listen already."""
        self._check_room(right)
        channel = self._channels.setdefault(site, _Channel())
        listener = _Listener(right)
        channel.listeners.add(listener)
        if channel.task is None:
            channel.task = asyncio.create_task(self._keep_counting(site, channel))
        elif channel.active is not None:
            listener.tell(channel.active)
        try:
            yield listener
        finally:
            channel.listeners.discard(listener)
            if not channel.listeners:
                self._remove(site, channel)
                channel.task.cancel()

    def _remove(self, site: int, channel: _Channel) -> None:
        if self._channels.get(site) is channel:
            del self._channels[site]

    def _check_room(self, right: Right) -> None:
        rights = [listener.right for channel in self._channels.values() for listener in channel.listeners]
        of_link = sum(other.link == right.link for other in rights)
        public = sum(other.link != "" for other in rights)
        full = right.link and (of_link >= MAX_LISTENERS_OF_LINK or public >= MAX_PUBLIC_LISTENERS)
        if full or len(rights) >= MAX_LISTENERS:
            message = "Too many are listening already: reload the page to see how many visitors there are."
            raise Refused("unavailable", message, retry_after=_RETRY_AFTER_S)

    async def _keep_counting(self, site: int, channel: _Channel) -> None:
        try:
            with self._news.listen(site) as heard:
                while site in self._house.sites.registry.numbers and not self._news.closed:
                    heard.clear()  # before it is counted: what comes from here on is heard
                    await self._recount(site, channel)
                    try:
                        async with asyncio.timeout(_HEARTBEAT_S):
                            await heard.wait()
                            if not self._news.closed:
                                await asyncio.sleep(_RECOUNT_PAUSE_S)
                    except TimeoutError:
                        channel.active = None  # so that all are told, as a sign of life
        except Exception:
            _log.exception("the active visitors of a site cannot be counted")
        finally:
            self._remove(site, channel)
            for listener in channel.listeners:
                listener.end()

    async def _count(self, site: int) -> int:
        database, clock = self._house.database, self._house.clock
        asker, key = Asker(PEOPLE, "live"), (LiveVisitors, site)
        return await (await database.query(asker, key, lambda conn: alerts.active(conn, clock.now(), site)))

    async def _recount(self, site: int, channel: _Channel) -> None:
        """Count, and tell those who may know."""
        try:
            rights = {listener.right.key: listener.right for listener in channel.listeners}
            lost = {key for key, right in rights.items() if not await right.holds()}
            self.counts += 1
            active = await self._count(site)
        except (Refused, sqlite3.OperationalError):
            return  # the next time, then
        for listener in list(channel.listeners):
            if listener.right.key in lost:
                listener.end()
            elif listener.active is None or active != channel.active:
                listener.tell(active)
        channel.active = active

    def stream(self, site: int, right: Right) -> "LiveStream":
        """Return the stream of a site's active visitors (Server-Sent Events), for as long as the right holds."""
        return LiveStream(lambda: self._listen(site, right))


class LiveStream(StreamingResponse):
    """A stream for one listener, who is counted as such while it lasts; one who does not read is dropped."""

    def __init__(self, listen: Callable[[], AbstractContextManager[_Listener]]) -> None:
        # nginx would keep what comes until there is more of it, but for this header.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), headers=headers, media_type="text/event-stream")
        self._listen = listen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until it is over, or the caller hangs up. Raises `Refused` if too many listen."""
        with self._listen() as listener:
            self.body_iterator = _messages(listener)
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send messages, as long as they are read."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_SLOW_READER_TIMEOUT_S):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            return  # without an end: the server closes the connection


async def _messages(listener: _Listener) -> AsyncIterator[bytes]:
    """Yield a message for each number that the listener is told, and a comment if it is the same again."""
    last: int | None = None
    while True:
        await listener.changed.wait()
        listener.changed.clear()
        if listener.is_over:
            return
        yield b": nothing new\n\n" if listener.active == last else b'data: {"active": %d}\n\n' % (listener.active or 0)
        last = listener.active
