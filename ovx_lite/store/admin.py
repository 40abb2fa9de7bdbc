"""Whoever looks after the sites: their password, and where they are logged in with it."""

import sqlite3
from typing import NamedTuple

from ovx_lite.store.db import transaction

SESSION = 30 * 24 * 60 * 60 * 1000
"""Milliseconds that a session lasts."""


class Admin(NamedTuple):
    """The hash of the password, `""` until one is chosen, and the key that signs cookies."""

    password: str
    cookie_key: bytes


def load(conn: sqlite3.Connection) -> Admin:
    """What is known of whoever looks after the sites."""
    return Admin._make(conn.execute("SELECT password, cookie_key FROM admin").fetchone())


def set_password(conn: sqlite3.Connection, hashed: str) -> None:
    """Take over the hash of a new password. All sessions end."""
    with transaction(conn):
        conn.execute("UPDATE admin SET password = ?", (hashed,))
        conn.execute("DELETE FROM sessions")


def begin_session(conn: sqlite3.Connection, digest: bytes, hashed: str, now: int) -> bool:
    """Begin a session for whoever gave the password of that hash, unless it has been changed meanwhile.

    Returns whether it began.
    """
    with transaction(conn):
        conn.execute("DELETE FROM sessions WHERE began <= ?", (now - SESSION,))
        return (
            conn.execute(
                "INSERT INTO sessions (digest, began) SELECT ?, ? FROM admin WHERE password = ?", (digest, now, hashed)
            ).rowcount
            == 1
        )


def has_session(conn: sqlite3.Connection, digest: bytes, now: int) -> bool:
    """Whether that session has begun, and not ended yet."""
    query = "SELECT 1 FROM sessions WHERE digest = ? AND began > ?"
    return conn.execute(query, (digest, now - SESSION)).fetchone() is not None


def end_session(conn: sqlite3.Connection, digest: bytes) -> None:
    """End a session."""
    with transaction(conn):
        conn.execute("DELETE FROM sessions WHERE digest = ?", (digest,))
