"""The administrator's password and login sessions."""

import sqlite3
from hashlib import sha256
from typing import NamedTuple

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.storage.sqlite import transaction

SESSION_LIFETIME_MS = 30 * DAY_MS
"""How long a login session lasts."""


class Admin(NamedTuple):
    """The administrator. `password_hash` is `""` until a password is chosen; `cookie_key` signs all cookies."""

    password_hash: str
    cookie_key: bytes
    cookie_name: str


def load(conn: sqlite3.Connection) -> Admin:
    """Return the administrator. Every store has exactly one."""
    password_hash, cookie_key, cookie_name = conn.execute(
        "SELECT password_hash, cookie_key, cookie_name FROM admin"
    ).fetchone()
    return Admin(password_hash, cookie_key, cookie_name or f"ovx-{sha256(cookie_key).hexdigest()[:8]}")


def set_password(conn: sqlite3.Connection, password_hash: str) -> None:
    """Save the hash of a new password, end all sessions, and replace the key that signs cookies.

    A new key is necessary because anyone who has stolen the store can sign cookies with the old one: for sessions, for
    browsers that were logged in before, and for public links.
    """
    with transaction(conn):
        cookie_name = load(conn).cookie_name
        conn.execute(
            "UPDATE admin SET password_hash = ?, cookie_key = randomblob(32), cookie_name = ?",
            (password_hash, cookie_name),
        )
        conn.execute("DELETE FROM login_sessions")


def begin_session(conn: sqlite3.Connection, token_hash: bytes, password_hash: str, now_ms: int) -> bool:
    """Start a session for a browser that sent the password of this hash. Return whether it started.

    It does not start if the password was changed after it was checked. Expired sessions are deleted first.
    """
    with transaction(conn):
        conn.execute("DELETE FROM login_sessions WHERE started_at <= ?", (now_ms - SESSION_LIFETIME_MS,))
        return (
            conn.execute(
                "INSERT INTO login_sessions (token_hash, started_at) SELECT ?, ? FROM admin WHERE password_hash = ?",
                (token_hash, now_ms, password_hash),
            ).rowcount
            == 1
        )


def has_session(conn: sqlite3.Connection, token_hash: bytes, now_ms: int) -> bool:
    """Return whether a session with this token hash exists and has not expired."""
    query = "SELECT 1 FROM login_sessions WHERE token_hash = ? AND started_at > ?"
    return conn.execute(query, (token_hash, now_ms - SESSION_LIFETIME_MS)).fetchone() is not None


def end_session(conn: sqlite3.Connection, token_hash: bytes) -> None:
    """End a session. Does nothing if it has ended already."""
    with transaction(conn):
        conn.execute("DELETE FROM login_sessions WHERE token_hash = ?", (token_hash,))
