"""The check that the store can be written."""

import sqlite3

from ovx_lite.storage.sqlite import transaction


def touch(conn: sqlite3.Connection, now_ms: int) -> None:
    """Write the current time to the store. Raises `sqlite3.Error` if the store cannot be written."""
    with transaction(conn):
        conn.execute("UPDATE meta SET value = ? WHERE name = 'write_checked_at'", (now_ms,))
