"""Who may look at a site without having logged in: whoever has its link, and its password, if it has one."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.sqlite import transaction


class SharedLink(NamedTuple):
    """A site's public link. `password` is a hash, `""` for none."""

    site_id: int
    token: str
    password_hash: str
    created_at_ms: int


_COLUMNS = "site_id, token, password_hash, created_at"


def of_site(conn: sqlite3.Connection, site_id: int) -> SharedLink | None:
    """A site's public link; None if it has none."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM shared_links WHERE site_id = ?", (site_id,)).fetchone()
    return None if row is None else SharedLink(*row)


def find(conn: sqlite3.Connection, token: str) -> tuple[SharedLink, str] | None:
    """The public link of that token, and its site's id; None if there is none."""
    query = """
        SELECT site_id, token, password_hash, shared_links.created_at, slug
        FROM shared_links JOIN sites ON sites.id = site_id WHERE token = ?
    """
    row = conn.execute(query, (token,)).fetchone()
    return None if row is None else (SharedLink(*row[:4]), row[4])


def save(conn: sqlite3.Connection, shared_link: SharedLink) -> None:
    """Give a site a public link, in place of the one that it may have."""
    with transaction(conn):
        conn.execute(f"INSERT OR REPLACE INTO shared_links ({_COLUMNS}) VALUES (?, ?, ?, ?)", shared_link)


def remove(conn: sqlite3.Connection, site_id: int) -> None:
    """Take a site's public link away."""
    with transaction(conn):
        conn.execute("DELETE FROM shared_links WHERE site_id = ?", (site_id,))
