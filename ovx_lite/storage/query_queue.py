"""The queue of read queries: each waits for its turn (see `priority`), runs in a thread, and can be cancelled.

Queries with equal keys that are in the queue at the same time run once.
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
from ovx_lite.storage.cancellation import Cancellation, QueryCancelledError, run_query
from ovx_lite.storage.priority import Requester

T = TypeVar("T")

WAIT_TIMEOUT_S = 20.0
"""How long a query may wait for its turn."""

_STOP_GRACE_S = 1.0  # how long running queries may go on when the server stops
_RETRY_AFTER_S = 5


class _Query:
    """A query that waits or runs. Each caller that waits for its result has a future in `waiters`."""

    __slots__ = ("cancellation", "data_version", "key", "requester", "run", "sequence", "timer", "waiters")

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
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: set[asyncio.Future[Any]] = set()


class QueryQueue:
    """Runs read queries in its own threads. It opens their connections when they are first needed, and keeps them."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by level and outcome, since the start
        self._open = open_connection
        self._idle_conns: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(priority.MAX_RUNNING, "query")
        self._waiting: dict[Hashable, _Query] = {}
        self._running: dict[_Query, asyncio.Future[Any]] = {}
        self._shared: dict[Hashable, _Query] = {}  # running queries whose result later callers may share
        self._turns = priority.TurnHistory()
        self._last_sequence = 0
        self._is_stopping = False

    @property
    def waiting(self) -> Counter[str]:
        """Return how many queries wait, by the name of their level."""
        return Counter(query.requester.level.name for query in self._waiting.values())

    @property
    def running(self) -> Counter[str]:
        """Return how many queries run, by the name of their level."""
        return Counter(query.requester.level.name for query in self._running)

    def submit(
        self, requester: Requester, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], T]
    ) -> asyncio.Future[T]:
        """Queue `run(conn)` and return a future of its result. Cancel the future if the client disconnects.

        Queries with equal keys must have equal results as long as the data does not change. A caller shares the result
        of a running query only if `data_version` is still the one with which that query was submitted. Raises
        `ApiError` (`unavailable`) if the queue is full. The future raises it if the query waits or runs too long.
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
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        query.waiters.add(waiter)
        waiter.add_done_callback(partial(self._discard_waiter, query))
        self._start_queries()
        return waiter

    def _enqueue(
        self, requester: Requester, key: Hashable, data_version: int, run: Callable[[sqlite3.Connection], Any]
    ) -> _Query:
        level = requester.level
        if self._is_stopping or priority.is_full(requester, [query.requester for query in self._waiting.values()]):
            self.outcomes[level.name, "refused"] += 1
            raise _shutdown_error() if self._is_stopping else _queue_full_error()
        self._last_sequence += 1
        query = _Query(requester=requester, key=key, data_version=data_version, sequence=self._last_sequence, run=run)
        query.timer = asyncio.get_running_loop().call_later(WAIT_TIMEOUT_S, self._reject, query, _queue_full_error)
        self._waiting[key] = query
        return query

    def _start_queries(self) -> None:
        """Start waiting queries, in order of their turns, while threads are free."""
        while (query := self._next_query()) is not None:
            self._dequeue(query)
            self._turns.record(query.requester)
            # A requester of a higher level may have joined the query while it waited.
            query.cancellation.timeout_s = query.requester.level.query_timeout_s
            future = asyncio.get_running_loop().run_in_executor(
                self._threads, self._run_in_thread, query.run, query.cancellation
            )
            self._running[query] = future
            self._shared[query.key] = query
            future.add_done_callback(partial(self._finish, query))

    def _next_query(self) -> _Query | None:
        """Return the waiting query whose turn it is; `None` if no waiting query may start now."""
        running = Counter(query.requester.level for query in self._running)
        ready = [query for query in self._waiting.values() if priority.may_start(query.requester.level, running)]
        return min(ready, key=lambda query: (*self._turns.rank(query.requester), query.sequence), default=None)

    def _run_in_thread(self, run: Callable[[sqlite3.Connection], T], cancellation: Cancellation) -> T:
        """Run a query in one of the threads.

        It does not get the `_Query`: an exception's traceback would refer to the query, whose futures refer to the
        exception, a reference cycle.
        """
        try:
            conn = self._idle_conns.pop()
        except IndexError:
            conn = self._open()
        try:
            return run_query(conn, cancellation, run)
        finally:
            self._idle_conns.append(conn)

    def _finish(self, query: _Query, future: asyncio.Future[Any]) -> None:
        """Pass a query's result or error to all its waiters, and start the next query."""
        del self._running[query]
        self._stop_sharing(query)
        exc = future.exception()
        self.outcomes[query.requester.level.name, _outcome(exc)] += 1
        waiters, query.waiters = query.waiters, set()
        for waiter in waiters:
            if waiter.done():
                continue
            if exc is None:
                waiter.set_result(future.result())
            elif isinstance(exc, QueryCancelledError):
                waiter.set_exception(_shutdown_error())
            else:
                waiter.set_exception(exc.copy() if isinstance(exc, ApiError) else exc)
        self._start_queries()

    def _discard_waiter(self, query: _Query, waiter: asyncio.Future[Any]) -> None:
        """Remove a waiter. Cancel the query, or take it out of the queue, if this was its last one."""
        query.waiters.discard(waiter)
        if query.waiters:
            return
        if query in self._running:
            self._stop_sharing(query)
            query.cancellation.cancel()
        elif self._waiting.get(query.key) is query:
            self._dequeue(query)
            self.outcomes[query.requester.level.name, "cancelled"] += 1

    def _reject(self, query: _Query, make_error: Callable[[], ApiError]) -> None:
        """Take a query out of the queue, and raise an error in each of its waiters."""
        self._dequeue(query)
        self.outcomes[query.requester.level.name, "refused"] += 1
        waiters, query.waiters = query.waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(make_error())

    def _dequeue(self, query: _Query) -> None:
        del self._waiting[query.key]
        if query.timer is not None:
            query.timer.cancel()
            query.timer = None

    def _stop_sharing(self, query: _Query) -> None:
        if self._shared.get(query.key) is query:
            del self._shared[query.key]

    def stop(self) -> None:
        """Reject waiting and new queries, and cancel running ones that do not end within a second."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for query in list(self._waiting.values()):
            self._reject(query, _shutdown_error)
        for query in self._running:
            asyncio.get_running_loop().call_later(_STOP_GRACE_S, query.cancellation.cancel)

    async def close(self) -> None:
        """End all queries, then close the connections."""
        self.stop()
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)  # let the callbacks of the ended queries run
        self._threads.shutdown()
        for conn in self._idle_conns:
            conn.close()


def _outcome(exc: BaseException | None) -> str:
    if isinstance(exc, QueryCancelledError):
        return "cancelled"
    if isinstance(exc, ApiError):
        return "timed_out" if exc.code == "unavailable" else "answered"
    return "answered" if exc is None else "failed"


def _queue_full_error() -> ApiError:
    message = "Too many queries are waiting: try again in a few seconds."
    return ApiError("unavailable", message, retry_after_s=_RETRY_AFTER_S)


def _shutdown_error() -> ApiError:
    return ApiError("unavailable", "The server is shutting down: try again in a moment.", retry_after_s=_RETRY_AFTER_S)
