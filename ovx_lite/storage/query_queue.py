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

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import priority
from ovx_lite.storage.cancellation import Cancellation, Cancelled, run_query
from ovx_lite.storage.priority import Requester

T = TypeVar("T")

WAIT_TIMEOUT_S = 20.0
"""How long a query may wait for its turn."""

_STOP_GRACE_S = 1.0
_RETRY_AFTER_S = 5


class _Query:
    """A query that waits or runs, and the tickets of all who wait for its result."""

    __slots__ = ("cancellation", "data_version", "key", "requester", "run", "sequence", "tickets", "timer")

    def __init__(
        self,
        requester: Requester,
        key: Hashable,
        data_version: int,
        sequence: int,
        run: Callable[[sqlite3.Connection], Any],
    ) -> None:
        self.requester = requester
        self.key = key
        self.data_version = data_version
        self.sequence = sequence
        self.run = run
        self.cancellation = Cancellation(requester.level.query_timeout_s)
        self.tickets: set[asyncio.Future[Any]] = set()
        self.timer: asyncio.TimerHandle | None = None


class QueryQueue:
    """Runs read queries in a few threads of its own, each with a connection that is opened when first needed."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by level, and by what came of a query; since the start
        self._open = open_connection
        self._idle_conns: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(priority.MAX_RUNNING, "query")
        self._waiting: dict[Hashable, _Query] = {}
        self._running: dict[_Query, asyncio.Future[Any]] = {}
        self._shared: dict[Hashable, _Query] = {}  # those of the running ones that others may join
        self._turns = priority.TurnHistory()
        self._last_sequence = 0
        self._is_stopping = False

    @property
    def waiting(self) -> Counter[str]:
        """How many queries wait, by the names of their levels."""
        return Counter(query.requester.level.name for query in self._waiting.values())

    @property
    def running(self) -> Counter[str]:
        """How many queries run, by the names of their levels."""
        return Counter(query.requester.level.name for query in self._running)

    def submit(
        self, requester: Requester, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], T]
    ) -> asyncio.Future[T]:
        """Queue `run(conn)` and return a future of its result; cancel the future if the asker hangs up.

        Queries with equal keys have equal results as long as the data are the same. `data_version` tells: the result
        of a query that runs already is good for all who saw the same version before. Raises `ApiError`
        (`unavailable`) if the queue is full; so does the future if the query takes too long.
        """
        query = self._waiting.get(key)
        if query is None:
            running = self._shared.get(key)
            query = running if running is not None and running.data_version == data_version else None
        if query is None:
            query = self._enqueue(requester, key, data_version, run)
        else:
            self.outcomes[requester.level.name, "shared"] += 1
            if key in self._waiting and priority.comes_before(requester, query.requester):
                query.requester = requester
        ticket: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        query.tickets.add(ticket)
        ticket.add_done_callback(partial(self._discard_ticket, query))
        self._start_queries()
        return ticket

    def _enqueue(
        self, requester: Requester, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], Any]
    ) -> _Query:
        level = requester.level
        if self._is_stopping or priority.is_full(requester, [query.requester for query in self._waiting.values()]):
            self.outcomes[level.name, "refused"] += 1
            raise _shutdown_error() if self._is_stopping else _queue_full_error()
        self._last_sequence += 1
        query = _Query(requester, key, data_version, self._last_sequence, run)
        query.timer = asyncio.get_running_loop().call_later(WAIT_TIMEOUT_S, self._reject, query, _queue_full_error)
        self._waiting[key] = query
        return query

    def _start_queries(self) -> None:
        """Give free threads to those whose turn it is."""
        while (query := self._next_query()) is not None:
            self._dequeue(query)
            self._turns.record(query.requester)
            query.cancellation.timeout_s = (
                query.requester.level.query_timeout_s
            )  # it may have been raised while it waited
            future = asyncio.get_running_loop().run_in_executor(
                self._threads, self._run_in_thread, query.run, query.cancellation
            )
            self._running[query] = future
            self._shared[query.key] = query
            future.add_done_callback(partial(self._finish, query))

    def _next_query(self) -> _Query | None:
        """Return the waiting query whose turn it is; `None` if none may have a thread now."""
        running = Counter(query.requester.level for query in self._running)
        ready = [query for query in self._waiting.values() if priority.may_start(query.requester.level, running)]
        return min(ready, key=lambda query: (*self._turns.rank(query.requester), query.sequence), default=None)

    def _run_in_thread(self, run: Callable[[sqlite3.Connection], T], cancellation: Cancellation) -> T:
        """Run a query in one of the threads. Must not know the query: its exception would hold it, and it that."""
        try:
            conn = self._idle_conns.pop()
        except IndexError:
            conn = self._open()
        try:
            return run_query(conn, cancellation, run)
        finally:
            self._idle_conns.append(conn)

    def _finish(self, query: _Query, future: asyncio.Future[Any]) -> None:
        """Hand a query's result to all who wait for it, and its thread to the next one."""
        del self._running[query]
        self._stop_sharing(query)
        exc = future.exception()
        self.outcomes[query.requester.level.name, _outcome(exc)] += 1
        tickets, query.tickets = query.tickets, set()
        for ticket in tickets:
            if ticket.done():
                continue
            if exc is None:
                ticket.set_result(future.result())
            elif isinstance(exc, Cancelled):
                ticket.set_exception(_shutdown_error())
            else:
                ticket.set_exception(exc.copy() if isinstance(exc, ApiError) else exc)
        self._start_queries()

    def _discard_ticket(self, query: _Query, ticket: asyncio.Future[Any]) -> None:
        """Take a ticket away; a query that nobody waits for any more ends, or never begins."""
        query.tickets.discard(ticket)
        if query.tickets:
            return
        if query in self._running:
            self._stop_sharing(query)
            query.cancellation.cancel()
        elif self._waiting.get(query.key) is query:
            self._dequeue(query)
            self.outcomes[query.requester.level.name, "cancelled"] += 1

    def _reject(self, query: _Query, make_error: Callable[[], ApiError]) -> None:
        """Take a query out of the queue, and tell all who wait for it why."""
        self._dequeue(query)
        self.outcomes[query.requester.level.name, "refused"] += 1
        tickets, query.tickets = query.tickets, set()
        for ticket in tickets:
            if not ticket.done():
                ticket.set_exception(make_error())

    def _dequeue(self, query: _Query) -> None:
        del self._waiting[query.key]
        if query.timer is not None:
            query.timer.cancel()
            query.timer = None

    def _stop_sharing(self, query: _Query) -> None:
        if self._shared.get(query.key) is query:
            del self._shared[query.key]

    def stop(self) -> None:
        """Refuse what waits, and what comes; end what runs, after a moment in which it may end by itself."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for query in list(self._waiting.values()):
            self._reject(query, _shutdown_error)
        for query in self._running:
            asyncio.get_running_loop().call_later(_STOP_GRACE_S, query.cancellation.cancel)

    async def close(self) -> None:
        """End all queries, and close the connections."""
        self.stop()
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)  # the callbacks of what has ended
        self._threads.shutdown()
        for conn in self._idle_conns:
            conn.close()


def _outcome(exc: BaseException | None) -> str:
    if isinstance(exc, Cancelled):
        return "cancelled"
    if isinstance(exc, ApiError):
        return "timed_out" if exc.code == "unavailable" else "answered"
    return "answered" if exc is None else "failed"


def _queue_full_error() -> ApiError:
    message = "Too many other queries are waiting: try again in a few seconds."
    return ApiError("unavailable", message, retry_after_s=_RETRY_AFTER_S)


def _shutdown_error() -> ApiError:
    return ApiError("unavailable", "The server is shutting down: try again in a moment.", retry_after_s=_RETRY_AFTER_S)
