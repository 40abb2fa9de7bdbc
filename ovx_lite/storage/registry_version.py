"""A counter in the store that changes with every site, API key, goal or webhook, so that all processes notice it."""

import sqlite3


def version(conn: sqlite3.Connection) -> int:
    """Return the current version. It differs after every change, by any process."""
    return int(conn.execute("SELECT value FROM meta WHERE name = 'registry_version'").fetchone()[0])


def announce(conn: sqlite3.Connection) -> None:
    """Change the version, so that the server reads the change within a second. Call this inside a transaction."""
    conn.execute("UPDATE meta SET value = value + 1 WHERE name = 'registry_version'")
