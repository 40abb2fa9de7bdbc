"""Whoever looks after the sites: their password, and where they are logged in with it."""

import sqlite3
from hashlib import sha256
from typing import NamedTuple

from ovx_lite.storage.sqlite import transaction

SESSION_LIFETIME_MS = 30 * 24 * 60 * 60 * 1000
"""Milliseconds that a session lasts."""


class Admin(NamedTuple):
    """The hash of the password, `""` until one is chosen; the key that signs cookies, and the cookies' name."""

    password_hash: str
    cookie_key: bytes
    cookie_name: str


def load(conn: sqlite3.Connection) -> Admin:
    """What is known of whoever looks after the sites."""
    password_hash, cookie_key, cookie_name = conn.execute(
        "SELECT password_hash, cookie_key, cookie_name FROM admin"
    ).fetchone()
    return Admin(password_hash, cookie_key, cookie_name or f"ovx-{sha256(cookie_key).hexdigest()[:8]}")


def set_password(conn: sqlite3.Connection, password_hash: str) -> None:
    """Save the hash of a new password. All sessions end, and no cookie that was signed before is valid any longer.

    Whoever has stolen the store can sign cookies: of sessions, of browsers that were logged in before, of shared links.
    """
    with transaction(conn):
        cookie_name = load(conn).cookie_name
        conn.execute(
            "UPDATE admin SET password_hash = ?, cookie_key = randomblob(32), cookie_name = ?",
            (password_hash, cookie_name),
        )
        conn.execute("DELETE FROM login_sessions")


def begin_session(conn: sqlite3.Connection, digest: bytes, password_hash: str, now_ms: int) -> bool:
    """Begin a session for whoever gave the password of that hash, unless it has been changed meanwhile.

    Returns whether it began.
    """
    with transaction(conn):
        conn.execute("DELETE FROM login_sessions WHERE started_at <= ?", (now_ms - SESSION_LIFETIME_MS,))
        return (
            conn.execute(
                "INSERT INTO login_sessions (token_hash, started_at) SELECT ?, ? FROM admin WHERE password_hash = ?",
                (digest, now_ms, password_hash),
            ).rowcount
            == 1
        )


def has_session(conn: sqlite3.Connection, digest: bytes, now_ms: int) -> bool:
    """Whether that session has begun, and not ended yet."""
    query = "SELECT 1 FROM login_sessions WHERE token_hash = ? AND started_at > ?"
    return conn.execute(query, (digest, now_ms - SESSION_LIFETIME_MS)).fetchone() is not None


def end_session(conn: sqlite3.Connection, digest: bytes) -> None:
    """End a session."""
    with transaction(conn):
        conn.execute("DELETE FROM login_sessions WHERE token_hash = ?", (digest,))
