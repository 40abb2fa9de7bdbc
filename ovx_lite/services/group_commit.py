"""The one road into the store: those who arrive together are stored together.

While a group is being written, the next one gathers: a slow disk makes groups larger, not the queue longer. A
request that arrives alone is a group of one and waits for nobody. An answer leaves when its group is on disk.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from ovx_lite.auth.rate_limit import Limits
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import Refused, detached, unavailable
from ovx_lite.domain.models import Event, Reply, event_id
from ovx_lite.http.prometheus import Histogram
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.notifier import News
from ovx_lite.storage import idempotency, rate_limits
from ovx_lite.storage.connections import Database
from ovx_lite.storage.idempotency import Repeat
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write.unit_of_work import Books
from ovx_lite.webhooks.triggers import Alert

MOST_WAITING = 20_000
"""Events that may wait for the disk; above it, requests are refused with 503."""

_log = logging.getLogger("ovx_lite")

P = ParamSpec("P")
T = TypeVar("T")
Wake = Callable[[], None]

# What SQLite and its binding raise for values that they cannot take.
_UNFIT = (sqlite3.Error, ValueError, OverflowError)

Outcome = Reply | Exception


class Request(msgspec.Struct, frozen=True):
    """Events of one site that are stored together or not at all, and the answer once they are.

    `followed`, if it is there, is told in words what followed: goals that were met, webhooks that are told.
    """

    site: int
    events: list[Event]
    reply: Callable[[list[str]], Reply]
    repeat: Repeat | None = None
    followed: list[str] | None = None


class Ingest:
    """Takes requests, stores them in groups, and says when they are on disk."""

    def __init__(
        self, database: Database, books: Books, limits: Limits, clock: Clock, wake: Wake, news: News, disk: DiskSpace
    ) -> None:
        """`wake` is called when a commit has put something on its way to a webhook."""
        self._database, self._books = database, books
        self._wake, self._news = wake, news
        self._limits, self._clock, self.disk = limits, clock, disk
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self.waiting = 0  # events, for the disk
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self.stored = 0  # events, since the start
        self.commits = Histogram()
        self.failed_at: int | None = None  # when (Unix ms) the last group could not be stored; None if it could

    async def submit(self, request: Request) -> Reply:
        """Store a request's events; returns its reply when they are on disk.

        Raises `Refused`: `unavailable` if the store cannot take it now, `idempotency_conflict`.
        """
        if self._closed:
            raise unavailable("The server is shutting down")
        if self.disk.is_low and request.events:
            raise self.disk.refusal
        if self.waiting and self.waiting + len(request.events) > MOST_WAITING:
            raise unavailable("More events are waiting for the disk than are good")
        stored: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, stored))
        self.waiting += len(request.events)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        try:
            return await stored
        finally:
            del stored  # it has the exception, whose traceback has this frame

    async def _write(self) -> None:
        """Write groups until nobody waits."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                outcomes = await self._store([request for request, _ in group])
                for (request, stored), outcome in zip(group, outcomes, strict=True):
                    self.waiting -= len(request.events)
                    if isinstance(outcome, Reply) and not outcome.replayed:
                        self.stored += len(request.events)
                    if stored.done():
                        continue  # whoever asked is gone
                    if isinstance(outcome, Reply):
                        stored.set_result(outcome)
                        self._news.tell(request.site)
                    else:
                        stored.set_exception(outcome)
        finally:
            self._writing = None

    async def _store(self, group: Sequence[Request]) -> list[Outcome]:
        counts, self._limits.unsaved = self._limits.unsaved, {}
        begun = time.monotonic()
        try:
            outcomes = await self._database.write(store, self._books, group, counts, self._clock.now())
            self.commits.add(time.monotonic() - begun)
            self.failed_at = None
            if self._books.watch.news:
                self._books.watch.news = False
                self._wake()
            return outcomes
        except sqlite3.OperationalError as wrong:
            self.failed_at = self._clock.now()
            # The disk is full, the file is locked or cannot be written: the same for all, and no use to try each alone.
            _log.error("the store cannot be written: %s", wrong)
            self._limits.keep_unsaved(counts)
            return [unavailable("The store cannot be written now") for _ in group]
        except Exception as wrong:
            self._limits.keep_unsaved(counts)
            return [wrong] * len(group)  # a fault of ours: every request of the group is told, and logs it

    async def flush(self) -> bool:
        """Save the counts of limited callers that no group has taken along yet. Returns whether there were any."""
        if not self._limits.unsaved or self._writing is not None:
            return False
        await self._store([])
        return True

    async def change(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Change what is stored already, in the writer's thread: `do(conn, …)`. The log looks at all of it anew."""

        def change(conn: sqlite3.Connection) -> T:
            try:
                return do(conn, *args, **kwargs)
            finally:
                self._books.forget()

        return await self._database.write(change)

    async def tell(self, site: int, alert: Alert) -> list[str]:
        """Tell a site's webhooks of an alert that no event has brought. Returns in words what was put on its way."""

        def tell(conn: sqlite3.Connection, books: Books, now: int) -> list[str]:
            with transaction(conn):
                books.begin()
                told = books.watch.tell(site, alert, now)
                books.flush()
                return told

        told = await self._database.write(tell, self._books, self._clock.now())
        self._wake()
        return told

    async def close(self) -> None:
        """Take nothing more, and return when all that was taken is on disk."""
        self._closed = True
        while self._writing is not None:
            await asyncio.wait([self._writing])
        await self.flush()


def store(
    conn: sqlite3.Connection,
    books: Books,
    group: Sequence[Request],
    counts: dict[tuple[str, int], int],
    now: int,
) -> list[Outcome]:
    """Store a group in one transaction, and if that fails, each of its requests alone: a bad one fails no neighbour.

    Returns what came of each. Raises `sqlite3.OperationalError` if the store cannot be written, and nothing was stored.
    """
    try:
        return _store_together(conn, books, group, counts, now)
    except sqlite3.OperationalError:
        raise
    except _UNFIT:
        _log.exception("a group of %d requests could not be stored together; storing each alone", len(group))
    _store_together(conn, books, [], counts, now)
    outcomes: list[Outcome] = []
    for request in group:
        try:
            outcomes += _store_together(conn, books, [request], {}, now)
        except sqlite3.OperationalError as wrong:
            # What was stored before it is stored; this one and those to come are told to try again.
            _log.error("the store cannot be written: %s", wrong)
            return outcomes + [unavailable("The store cannot be written now") for _ in group[len(outcomes) :]]
        except _UNFIT as wrong:
            outcomes.append(wrong)
    try:
        return outcomes
    finally:
        del outcomes  # its exceptions' tracebacks have this frame


def _store_together(
    conn: sqlite3.Connection,
    books: Books,
    group: Sequence[Request],
    counts: dict[tuple[str, int], int],
    now: int,
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        with transaction(conn):
            books.begin()
            for request in group:
                try:
                    outcomes.append(_store_one(conn, books, request, now))
                except Refused as refused:
                    outcomes.append(detached(refused))
            books.flush()
            if counts:
                rate_limits.save(conn, counts)
    except BaseException:
        books.forget()
        raise
    return outcomes


def _store_one(conn: sqlite3.Connection, books: Books, request: Request, now: int) -> Reply:
    repeat = request.repeat
    if repeat is not None:
        earlier = idempotency.find(conn, request.site, repeat, now)
        if earlier is not None:
            return earlier
    reply = request.reply([event_id(number) for number in books.log.add(request.site, request.events)])
    if request.events:
        books.watch.see(request.site, request.events, now, request.followed)
    if repeat is not None:
        idempotency.keep(conn, request.site, repeat, reply, now)
    return reply
