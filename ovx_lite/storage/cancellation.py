"""Cancels read queries: from another thread, or after a time limit."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ovx_lite.domain.errors import ApiError

T = TypeVar("T")

_CHECK_STEPS = 200_000  # instructions of SQLite's virtual machine between two checks
_CHECK_ITEMS = 1_000  # items of `cancellable` between two checks


class QueryCancelledError(Exception):
    """The query was cancelled: nobody waits for its result any longer, or the server is stopping."""


class Cancellation:
    """Cancels one query. `timeout_s` is how long the query may run.

    You may call `cancel` from any thread, also before the query starts and after it has ended.
    """

    def __init__(self, timeout_s: float) -> None:
        self.is_cancelled = False
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._conn: sqlite3.Connection | None = None

    def cancel(self) -> None:
        """Interrupt the query if it runs; otherwise have it fail as soon as it starts."""
        with self._lock:
            self.is_cancelled = True
            if self._conn is not None:
                self._conn.interrupt()

    def attach(self, conn: sqlite3.Connection | None) -> None:
        """Set the connection that the query uses; `None` when it has ended, so that no later query is interrupted."""
        with self._lock:
            self._conn = conn


class QueryConnection(sqlite3.Connection):
    """A connection for read queries. It checks before and during each statement whether the query must end."""

    cancellation: Cancellation | None = None
    deadline_s = 0.0

    def is_over(self) -> bool:
        """Return whether the query was cancelled or its time limit has passed."""
        cancellation = self.cancellation
        return cancellation is not None and (cancellation.is_cancelled or time.monotonic() > self.deadline_s)

    def check(self) -> None:
        """Raise `QueryCancelledError` if the query was cancelled, `ApiError` (`unavailable`) if it is out of time."""
        if self.is_over():
            if self.cancellation is None or self.cancellation.is_cancelled:
                raise QueryCancelledError
            message = (
                f"The query took longer than {self.cancellation.timeout_s:g} seconds: "
                "choose a shorter period or fewer filters."
            )
            raise ApiError("unavailable", message, retry_after_s=1)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement. Raises what `check` raises if the query must end."""
        self.check()
        return super().execute(sql, parameters)


def run_query(conn: sqlite3.Connection, cancellation: Cancellation, run: Callable[[sqlite3.Connection], T]) -> T:
    """Return `run(conn)`, run in one read transaction, so that all its statements see the same data.

    Raises `QueryCancelledError` if the query is cancelled, and `ApiError` (`unavailable`) if it takes too long.
    """
    assert isinstance(conn, QueryConnection), "open the connection with `open_reader`"
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
        cancellation.attach(None)  # before the ROLLBACK, so that nothing can interrupt it
        conn.cancellation = None
        conn.set_progress_handler(None, 0)
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def cancellable(conn: sqlite3.Connection, items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and check regularly whether the query on this connection must end.

    Raises what `QueryConnection.check` raises. On another connection it never checks.
    """
    for index, item in enumerate(items):
        if index % _CHECK_ITEMS == 0 and isinstance(conn, QueryConnection):
            conn.check()
        yield item
