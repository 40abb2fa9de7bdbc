"""Waits while another process has the store locked: commands may wait long, the server may not."""

import random
import sqlite3
import time

COMMAND_LOCK_TIMEOUT_S = 30.0
"""How long a command waits for the transaction of another process."""

SERVER_LOCK_TIMEOUT_S = 5.0
"""How long the server waits. Its clients wait with it, and then get status 503."""

_MAX_GAP_S = 1.0  # if no transaction met the lock for longer than this, the next one starts a new time-out
_MIN_WAIT_S = 0.1  # how long each transaction waits, even if those before it have used up the time-out


class StoreConnection(sqlite3.Connection):
    """A connection to the store that remembers how long it has been waiting for other processes.

    Transactions that queue up behind one lock share one time-out, `lock_timeout_s`. When it has passed, each of them
    fails almost at once, so the last one in the queue does not wait many times as long as the first one.
    `locked_since_s` and `last_locked_s` are the monotonic times at which the lock was first and last seen.
    """

    lock_timeout_s = COMMAND_LOCK_TIMEOUT_S
    locked_since_s: float | None = None
    last_locked_s = 0.0


def execute_when_unlocked(conn: sqlite3.Connection, statement: str) -> None:
    """Execute a statement that needs the write lock, and wait for the lock if another process has it.

    Raises `sqlite3.OperationalError` (`SQLITE_BUSY`) after the connection's `lock_timeout_s`.
    """
    deadline_s: float | None = None
    while True:
        try:
            conn.execute(statement)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not isinstance(conn, StoreConnection):
                raise
            now_s = time.monotonic()
            if deadline_s is None:
                deadline_s = _deadline_s(conn, now_s)
            conn.last_locked_s = now_s
            if now_s > deadline_s:
                raise
        else:
            if isinstance(conn, StoreConnection):
                conn.locked_since_s = None
            return
        # A busy process releases the lock for fractions of a millisecond. SQLite's own wait sleeps up to 100 ms between
        # attempts and can miss every gap, so try often.
        time.sleep(random.uniform(0.0002, 0.002))


def _deadline_s(conn: StoreConnection, now_s: float) -> float:
    """Record that the store is locked now. Return the monotonic time until which this transaction waits."""
    if conn.locked_since_s is None or now_s - conn.last_locked_s > _MAX_GAP_S:
        conn.locked_since_s = now_s
    return max(conn.locked_since_s + conn.lock_timeout_s, now_s + _MIN_WAIT_S)
