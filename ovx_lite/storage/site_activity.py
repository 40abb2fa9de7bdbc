"""What the event log tells when it is asked."""

import sqlite3
from typing import NamedTuple

from ovx_lite.domain.models import COUNTER_BITS


class Seen(NamedTuple):
    """An event, as one looks whether events arrive: `ts` in Unix ms, `excluded` why it is in no count, or `""`."""

    ts: int
    name: str
    host: str
    path: str
    excluded: str


# The latest event is one of a visit that began lately.
_LATEST = """
SELECT visit + later AS id, kind, page
FROM (SELECT * FROM events WHERE site = {} ORDER BY visit DESC, later DESC LIMIT 200) ORDER BY id DESC LIMIT 1
"""


def latest(conn: sqlite3.Connection, site: int) -> Seen | None:
    """The latest event of a site; None if it has none."""
    row = conn.execute(
        f"SELECT latest.id >> {COUNTER_BITS}, name, host, path, excluded FROM ({_LATEST.format('?')}) AS latest"
        " JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page",
        (site,),
    ).fetchone()
    return None if row is None else Seen._make(row)


def latest_of_all(conn: sqlite3.Connection) -> dict[int, int]:
    """When (Unix ms) each site had its latest event, by its number; without those that have none."""
    query = f"SELECT number, (SELECT id FROM ({_LATEST.format('number')})) AS last FROM sites WHERE last NOT NULL"
    return {site: id >> COUNTER_BITS for site, id in conn.execute(query)}


def months(conn: sqlite3.Connection, month: str) -> dict[int, int]:
    """How many events that count each site was sent in a month (`2026-11`), by its number."""
    return dict(conn.execute("SELECT site, events FROM months WHERE month = ?", (month,)))
