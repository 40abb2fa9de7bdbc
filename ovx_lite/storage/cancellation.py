"""Ending a read query early: from another thread, or after a time limit."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ovx_lite.domain.errors import ApiError

T = TypeVar("T")

_CHECK_STEPS = 200_000  # steps of SQLite's virtual machine from one check to the next
_CHECK_ITEMS = 1_000


class Cancelled(Exception):
    """The query was ended: nobody waits for its result any longer, or the server stops."""


class Cancellation:
    """Ends a query. `cancel` may be called from any thread, before the query begins and after it has ended, too.

    `timeout_s` is how long the query may run.
    """

    def __init__(self, timeout_s: float) -> None:
        self.is_cancelled = False
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._conn: sqlite3.Connection | None = None

    def cancel(self) -> None:
        """End the query now, or as soon as it begins."""
        with self._lock:
            self.is_cancelled = True
            if self._conn is not None:
                self._conn.interrupt()

    def attach(self, conn: sqlite3.Connection | None) -> None:
        """Set the connection that the query uses; `None` once it has ended, so that no later one is interrupted."""
        with self._lock:
            self._conn = conn


class QueryConnection(sqlite3.Connection):
    """A connection for read queries. It checks at each statement, and while one runs, whether the query is to end."""

    cancellation: Cancellation | None = None
    deadline_s = 0.0

    def is_over(self) -> bool:
        """Return whether the query was cancelled, or its time is over."""
        cancellation = self.cancellation
        return cancellation is not None and (cancellation.is_cancelled or time.monotonic() > self.deadline_s)

    def check(self) -> None:
        """Raise `Cancelled` if the query was cancelled, and `ApiError` (`unavailable`) if its time is over."""
        if self.is_over():
            if self.cancellation is None or self.cancellation.is_cancelled:
                raise Cancelled
            message = (
                f"This takes more than {self.cancellation.timeout_s:g} seconds to count: "
                "choose a shorter period, or fewer filters."
            )
            raise ApiError("unavailable", message, retry_after_s=1)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement, unless the query is to end."""
        self.check()
        return super().execute(sql, parameters)


def run_query(conn: sqlite3.Connection, cancellation: Cancellation, run: Callable[[sqlite3.Connection], T]) -> T:
    """Run `run(conn)` in one read transaction, so that all of it is as of one moment.

    Raises `Cancelled` if the query is cancelled, and `ApiError` (`unavailable`) if it takes too long.
    """
    assert isinstance(conn, QueryConnection), "opened by `open_reader`"
    conn.cancellation, conn.deadline_s = cancellation, time.monotonic() + cancellation.timeout_s
    conn.set_progress_handler(conn.is_over, _CHECK_STEPS)
    cancellation.attach(conn)
    try:
        conn.execute("BEGIN")
        return run(conn)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            conn.check()
        raise
    finally:
        cancellation.attach(None)  # before the transaction ends, so that nothing interrupts its end
        conn.cancellation = None
        conn.set_progress_handler(None, 0)
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def cancellable(conn: sqlite3.Connection, items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and check now and then whether the query on that connection is to end."""
    for index, item in enumerate(items):
        if index % _CHECK_ITEMS == 0 and isinstance(conn, QueryConnection):
            conn.check()
        yield item
