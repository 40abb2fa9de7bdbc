"""Waiting for another process that has the store locked: commands may wait long, the server may not."""

import random
import sqlite3
import time

COMMAND_LOCK_TIMEOUT_S = 30.0
"""How long a command waits for another process's transaction."""

SERVER_LOCK_TIMEOUT_S = 5.0
"""How long the server waits for one. Its callers wait with it, and are told 503 then."""

_MAX_GAP_S = 1.0  # after a longer time without a look, a lock may be another one
_MIN_WAIT_S = 0.1  # how long a transaction tries even if the ones before it have waited in vain


class StoreConnection(sqlite3.Connection):
    """A connection to the store that remembers how long other processes have kept it waiting.

    Transactions that queue up behind one lock share one time-out, `lock_timeout_s`. Once the lock has outlasted it,
    each of them fails almost at once, so the last one in the queue does not wait many times as long as the first.
    `locked_since_s` and `last_locked_s` are when the lock was first and last seen (monotonic).
    """

    lock_timeout_s = COMMAND_LOCK_TIMEOUT_S
    locked_since_s: float | None = None
    last_locked_s = 0.0


def execute_when_unlocked(conn: sqlite3.Connection, statement: str) -> None:
    """Execute a statement that needs the write lock, as soon as no other process has it.

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
        # A busy process leaves gaps of a fraction of a millisecond. SQLite's own wait sleeps up to 100 ms between
        # looks and can miss them all: look often.
        time.sleep(random.uniform(0.0002, 0.002))


def _deadline_s(conn: StoreConnection, now_s: float) -> float:
    """Return until when (monotonic) a transaction that finds the store locked now waits."""
    if conn.locked_since_s is None or now_s - conn.last_locked_s > _MAX_GAP_S:
        conn.locked_since_s = now_s
    return max(conn.locked_since_s + conn.lock_timeout_s, now_s + _MIN_WAIT_S)
