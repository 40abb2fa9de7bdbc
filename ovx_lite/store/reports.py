"""What the event log tells when it is asked."""

import sqlite3
from typing import NamedTuple

from ovx_lite.model import COUNTER_BITS


class Seen(NamedTuple):
    """An event, as one looks whether events arrive: `ts` in Unix ms, `excluded` why it is in no count, or `""`."""

    ts: int
    name: str
    host: str
    path: str
    excluded: str


def latest(conn: sqlite3.Connection, site: int) -> Seen | None:
    """The latest event of a site; None if it has none."""
    row = conn.execute(
        f"SELECT events.id >> {COUNTER_BITS}, name, host, path, excluded"
        " FROM events JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page"
        " WHERE site = ? ORDER BY events.id DESC LIMIT 1",
        (site,),
    ).fetchone()
    return None if row is None else Seen._make(row)


def latest_of_all(conn: sqlite3.Connection) -> dict[int, int]:
    """When (Unix ms) each site had its latest event, by its number; without those that have none."""
    query = "SELECT number, (SELECT max(id) FROM events WHERE site = number) AS last FROM sites WHERE last NOT NULL"
    return {site: id >> COUNTER_BITS for site, id in conn.execute(query)}


def months(conn: sqlite3.Connection, month: str) -> dict[int, int]:
    """How many events that count each site was sent in a month (`2026-11`), by its number."""
    return dict(conn.execute("SELECT site, events FROM months WHERE month = ?", (month,)))
