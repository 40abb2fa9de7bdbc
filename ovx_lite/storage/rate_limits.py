"""How much limited callers sent, by the second, so that a restart forgets no limit."""

import sqlite3
from collections.abc import Mapping

HOUR_S = 3600


def save(conn: sqlite3.Connection, counts: Mapping[tuple[str, int], int]) -> None:
    """Add counts, (caller, Unix second) → events; they may be negative. Inside a transaction."""
    conn.executemany(
        "INSERT INTO rate_limit_counters (principal, unix_second, count) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(principal, second, count) for (principal, second), count in counts.items()],
    )


def load(conn: sqlite3.Connection, now_ms: int) -> list[tuple[str, int, int]]:
    """The counts of the hour before `now` (Unix ms): (caller, Unix second, events), oldest first."""
    return conn.execute(
        "SELECT principal, unix_second, count FROM rate_limit_counters WHERE unix_second > ? ORDER BY unix_second",
        (now_ms // 1000 - HOUR_S,),
    ).fetchall()


def delete_expired(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete the counts that no limit looks at any more. Returns how many. Inside a transaction."""
    return conn.execute("DELETE FROM rate_limit_counters WHERE unix_second <= ?", (now_ms // 1000 - HOUR_S,)).rowcount
