"""The queue of read queries: each waits for its turn (see `priority`), runs in a thread, and may end early.

Queries with equal keys that are in the queue together run once.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ovx_lite.domain.errors import Refused
from ovx_lite.storage import priority
from ovx_lite.storage.cancellation import Cancellation, Cancelled, run_query
from ovx_lite.storage.priority import Asker

T = TypeVar("T")

WAIT_TIMEOUT_S = 20.0
"""How long a query may wait for its turn."""

_STOP_GRACE_S = 1.0
_RETRY_AFTER_S = 5


class _Query:
    """A query that waits or runs, and the tickets of all who wait for its result."""

    __slots__ = ("asker", "cancellation", "key", "number", "run", "seen_version", "tickets", "timer")

    def __init__(
        self, asker: Asker, key: Hashable, seen_version: int, number: int, run: Callable[[sqlite3.Connection], Any]
    ) -> None:
        self.asker = asker
        self.key = key
        self.seen_version = seen_version
        self.number = number
        self.run = run
        self.cancellation = Cancellation(asker.level.query_timeout_s)
        self.tickets: set[asyncio.Future[Any]] = set()
        self.timer: asyncio.TimerHandle | None = None


class QueryQueue:
    """Runs read queries in a few threads of its own, each with a connection that is opened when first needed."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by level, and by what came of a query; since the start
        self._open = open_connection
        self._idle: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(priority.MAX_RUNNING, "query")
        self._waiting: dict[Hashable, _Query] = {}
        self._running: dict[_Query, asyncio.Future[Any]] = {}
        self._shared: dict[Hashable, _Query] = {}  # those of the running ones that others may join
        self._turns = priority.Turns()
        self._number = 0
        self._is_stopping = False

    @property
    def waiting(self) -> Counter[str]:
        """How many queries wait, by the names of their levels."""
        return Counter(query.asker.level.name for query in self._waiting.values())

    @property
    def running(self) -> Counter[str]:
        """How many queries run, by the names of their levels."""
        return Counter(query.asker.level.name for query in self._running)

    def submit(
        self, asker: Asker, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], T]
    ) -> asyncio.Future[T]:
        """Queue `run(conn)` and return a future of its result; cancel the future if the asker hangs up.

        Queries with equal keys have equal results as long as the data are the same. `data_version` tells: the result
        of a query that runs already is good for all who saw the same version before. Raises `Refused`
        (`unavailable`) if the queue is full; so does the future if the query takes too long.
        """
        query = self._waiting.get(key)
        if query is None:
            running = self._shared.get(key)
            query = running if running is not None and running.seen_version == data_version else None
        if query is None:
            query = self._enqueue(asker, key, data_version, run)
        else:
            self.outcomes[asker.level.name, "shared"] += 1
            if key in self._waiting and priority.comes_before(asker, query.asker):
                query.asker = asker
        ticket: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        query.tickets.add(ticket)
        ticket.add_done_callback(partial(self._leave, query))
        self._start_queries()
        return ticket

    def _enqueue(
        self, asker: Asker, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], Any]
    ) -> _Query:
        level = asker.level
        if self._is_stopping or priority.is_full(asker, [query.asker for query in self._waiting.values()]):
            self.outcomes[level.name, "refused"] += 1
            raise _stopping() if self._is_stopping else _busy()
        self._number += 1
        query = _Query(asker, key, data_version, self._number, run)
        query.timer = asyncio.get_running_loop().call_later(WAIT_TIMEOUT_S, self._refuse, query, _busy)
        self._waiting[key] = query
        return query

    def _start_queries(self) -> None:
        """Give free threads to those whose turn it is."""
        while (query := self._next()) is not None:
            self._take_out(query)
            self._turns.take(query.asker)
            query.cancellation.timeout_s = query.asker.level.query_timeout_s  # it may have been raised while it waited
            ended = asyncio.get_running_loop().run_in_executor(self._threads, self._work, query.run, query.cancellation)
            self._running[query] = ended
            self._shared[query.key] = query
            ended.add_done_callback(partial(self._end, query))

    def _next(self) -> _Query | None:
        """Return the waiting query whose turn it is; `None` if none may have a thread now."""
        running = Counter(query.asker.level for query in self._running)
        ready = [query for query in self._waiting.values() if priority.may_start(query.asker.level, running)]
        return min(ready, key=lambda query: (*self._turns.rank(query.asker), query.number), default=None)

    def _work(self, run: Callable[[sqlite3.Connection], T], cancellation: Cancellation) -> T:
        """Run a query in one of the threads. Must not know the query: its exception would hold it, and it that."""
        try:
            conn = self._idle.pop()
        except IndexError:
            conn = self._open()
        try:
            return run_query(conn, cancellation, run)
        finally:
            self._idle.append(conn)

    def _end(self, query: _Query, ended: asyncio.Future[Any]) -> None:
        """Hand a query's result to all who wait for it, and its thread to the next one."""
        del self._running[query]
        self._unshare(query)
        exc = ended.exception()
        self.outcomes[query.asker.level.name, _outcome(exc)] += 1
        tickets, query.tickets = query.tickets, set()
        for ticket in tickets:
            if ticket.done():
                continue
            if exc is None:
                ticket.set_result(ended.result())
            elif isinstance(exc, Cancelled):
                ticket.set_exception(_stopping())
            else:
                ticket.set_exception(exc.copy() if isinstance(exc, Refused) else exc)
        self._start_queries()

    def _leave(self, query: _Query, ticket: asyncio.Future[Any]) -> None:
        """Take a ticket away; a query that nobody waits for any more ends, or never begins."""
        query.tickets.discard(ticket)
        if query.tickets:
            return
        if query in self._running:
            self._unshare(query)
            query.cancellation.cancel()
        elif self._waiting.get(query.key) is query:
            self._take_out(query)
            self.outcomes[query.asker.level.name, "cancelled"] += 1

    def _refuse(self, query: _Query, reason: Callable[[], Refused]) -> None:
        """Take a query out of the queue, and tell all who wait for it why."""
        self._take_out(query)
        self.outcomes[query.asker.level.name, "refused"] += 1
        tickets, query.tickets = query.tickets, set()
        for ticket in tickets:
            if not ticket.done():
                ticket.set_exception(reason())

    def _take_out(self, query: _Query) -> None:
        del self._waiting[query.key]
        if query.timer is not None:
            query.timer.cancel()
            query.timer = None

    def _unshare(self, query: _Query) -> None:
        if self._shared.get(query.key) is query:
            del self._shared[query.key]

    def stop(self) -> None:
        """Refuse what waits, and what comes; end what runs, after a moment in which it may end by itself."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for query in list(self._waiting.values()):
            self._refuse(query, _stopping)
        for query in self._running:
            asyncio.get_running_loop().call_later(_STOP_GRACE_S, query.cancellation.cancel)

    async def close(self) -> None:
        """End all queries, and close the connections."""
        self.stop()
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)  # the callbacks of what has ended
        self._threads.shutdown()
        for conn in self._idle:
            conn.close()


def _outcome(exc: BaseException | None) -> str:
    if isinstance(exc, Cancelled):
        return "cancelled"
    if isinstance(exc, Refused):
        return "timed_out" if exc.code == "unavailable" else "answered"
    return "answered" if exc is None else "failed"


def _busy() -> Refused:
    message = "Too many other queries are waiting: try again in a few seconds."
    return Refused("unavailable", message, retry_after=_RETRY_AFTER_S)


def _stopping() -> Refused:
    return Refused("unavailable", "The server is shutting down: try again in a moment.", retry_after=_RETRY_AFTER_S)
