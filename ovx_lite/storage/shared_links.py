"""Public links: anyone with a site's link, and its password if it has one, can view the dashboard without a login."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.sqlite import transaction


class SharedLink(NamedTuple):
    """A site's public link. `password_hash` is `""` if the link has no password."""

    site_id: int
    token: str
    password_hash: str
    created_at_ms: int


_COLUMNS = "site_id, token, password_hash, created_at"


def of_site(conn: sqlite3.Connection, site_id: int) -> SharedLink | None:
    """Return a site's public link; `None` if it has none."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM shared_links WHERE site_id = ?", (site_id,)).fetchone()
    return None if row is None else SharedLink(*row)


def find(conn: sqlite3.Connection, token: str) -> tuple[SharedLink, str] | None:
    """Return the public link with this token, and its site's slug; `None` if there is none."""
    query = """
        SELECT site_id, token, password_hash, shared_links.created_at, slug
        FROM shared_links JOIN sites ON sites.id = site_id WHERE token = ?
    """
    row = conn.execute(query, (token,)).fetchone()
    return None if row is None else (SharedLink(*row[:4]), row[4])


def save(conn: sqlite3.Connection, shared_link: SharedLink) -> None:
    """Save a site's public link. It replaces the previous one."""
    with transaction(conn):
        conn.execute(f"INSERT OR REPLACE INTO shared_links ({_COLUMNS}) VALUES (?, ?, ?, ?)", shared_link)


def remove(conn: sqlite3.Connection, site_id: int) -> None:
    """Remove a site's public link, if it has one."""
    with transaction(conn):
        conn.execute("DELETE FROM shared_links WHERE site_id = ?", (site_id,))
