"""The latest event and the monthly usage of sites."""

import sqlite3
from typing import NamedTuple

from ovx_lite.domain.models import COUNTER_BITS


class LatestEvent(NamedTuple):
    """The latest event of a site, to show that events arrive.

    `ts` is in Unix milliseconds. `excluded` is the reason why the event is not counted, or `""`.
    """

    ts: int
    name: str
    host: str
    path: str
    excluded: str


# The latest event belongs to one of the latest visits, so only the last 200 rows are sorted by event ID.
_LATEST_EVENT = """
SELECT visit_id + id_offset AS id, event_type_id, page_id
FROM (SELECT * FROM events WHERE site_id = {} ORDER BY visit_id DESC, id_offset DESC LIMIT 200) ORDER BY id DESC LIMIT 1
"""


def latest_event(conn: sqlite3.Connection, site_id: int) -> LatestEvent | None:
    """Return the latest event of a site; `None` if it has none."""
    row = conn.execute(
        f"SELECT latest.id >> {COUNTER_BITS}, name, host, path, excluded_reason"
        f" FROM ({_LATEST_EVENT.format('?')}) AS latest"
        " JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id",
        (site_id,),
    ).fetchone()
    return None if row is None else LatestEvent._make(row)


def latest_event_ms_by_site(conn: sqlite3.Connection) -> dict[int, int]:
    """Return the time (Unix ms) of each site's latest event, by site ID. Sites without events are left out."""
    query = f"""
        SELECT sites.id, (SELECT id FROM ({_LATEST_EVENT.format("sites.id")})) AS latest_id FROM sites
        WHERE latest_id NOT NULL
    """
    return {site_id: event_id >> COUNTER_BITS for site_id, event_id in conn.execute(query)}


def monthly_events(conn: sqlite3.Connection, month: str) -> dict[int, int]:
    """Return how many counted events each site received in a month (`2026-11`), by site ID."""
    return dict(conn.execute("SELECT site_id, events FROM monthly_usage WHERE month = ?", (month,)))
