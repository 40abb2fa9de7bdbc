"""Counts per second of what rate-limited principals sent, so that rate limits survive a restart."""

import sqlite3
from collections.abc import Mapping

from ovx_lite.domain.calendar import HOUR_S
from ovx_lite.storage.sqlite import insert


def save(conn: sqlite3.Connection, counts: Mapping[tuple[str, int], int]) -> None:
    """Add counts, by (principal, Unix second). They may be negative. Call this inside a transaction."""
    insert(
        conn,
        "INSERT INTO rate_limit_counters (principal, unix_second, count)",
        [(principal, second, count) for (principal, second), count in counts.items()],
        "ON CONFLICT (principal, unix_second) DO UPDATE SET count = count + excluded.count",
    )


def load(conn: sqlite3.Connection, now_ms: int) -> list[tuple[str, int, int]]:
    """Return the counts of the last hour as (principal, Unix second, count), oldest first."""
    return conn.execute(
        "SELECT principal, unix_second, count FROM rate_limit_counters WHERE unix_second > ? ORDER BY unix_second",
        (now_ms // 1000 - HOUR_S,),
    ).fetchall()


def delete_expired(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete counts that are over an hour old. Return how many. Call this inside a transaction."""
    return conn.execute("DELETE FROM rate_limit_counters WHERE unix_second <= ?", (now_ms // 1000 - HOUR_S,)).rowcount
