"""What the event log tells when it is asked."""

import sqlite3
from typing import NamedTuple

from ovx_lite.domain.models import COUNTER_BITS


class LatestEvent(NamedTuple):
    """An event, as one looks whether events arrive: `ts` in Unix ms, `excluded` why it is in no count, or `""`."""

    ts: int
    name: str
    host: str
    path: str
    excluded: str


# The latest event is one of a visit that began lately.
_LATEST_EVENT = """
SELECT visit_id + id_offset AS id, event_type_id, page_id
FROM (SELECT * FROM events WHERE site_id = {} ORDER BY visit_id DESC, id_offset DESC LIMIT 200) ORDER BY id DESC LIMIT 1
"""


def latest_event(conn: sqlite3.Connection, site_id: int) -> LatestEvent | None:
    """The latest event of a site; None if it has none."""
    row = conn.execute(
        f"SELECT latest.id >> {COUNTER_BITS}, name, host, path, excluded_reason FROM ({_LATEST_EVENT.format('?')}) AS latest"
        " JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id",
        (site_id,),
    ).fetchone()
    return None if row is None else LatestEvent._make(row)


def latest_event_ms_by_site(conn: sqlite3.Connection) -> dict[int, int]:
    """When (Unix ms) each site had its latest event, by its number; without those that have none."""
    query = f"""
        SELECT sites.id, (SELECT id FROM ({_LATEST_EVENT.format("sites.id")})) AS latest_id FROM sites
        WHERE latest_id NOT NULL
    """
    return {site_id: event_id >> COUNTER_BITS for site_id, event_id in conn.execute(query)}


def monthly_events(conn: sqlite3.Connection, month: str) -> dict[int, int]:
    """How many events that count each site was sent in a month (`2026-11`), by its number."""
    return dict(conn.execute("SELECT site_id, events FROM monthly_usage WHERE month = ?", (month,)))
