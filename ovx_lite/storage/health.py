"""Whether the store can be written."""

import sqlite3

from ovx_lite.storage.sqlite import transaction


def touch(conn: sqlite3.Connection, now_ms: int) -> None:
    """Write the time (Unix ms) to the store, to see that it goes. Raises `sqlite3.Error` if it does not."""
    with transaction(conn):
        conn.execute("UPDATE meta SET value = ? WHERE name = 'write_checked_at'", (now_ms,))
