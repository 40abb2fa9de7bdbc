"""Whether sites, keys, goals or webhooks have changed, in whatever process."""

import sqlite3


def version(conn: sqlite3.Connection) -> int:
    """A number that is another whenever any of them has changed."""
    return int(conn.execute("SELECT value FROM meta WHERE name = 'registry_version'").fetchone()[0])


def announce(conn: sqlite3.Connection) -> None:
    """Have the server look at what changed, within a second. Inside a transaction."""
    conn.execute("UPDATE meta SET value = value + 1 WHERE name = 'registry_version'")
