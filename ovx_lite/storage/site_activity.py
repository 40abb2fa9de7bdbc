"""The latest event and the monthly usage of sites."""

import sqlite3
from collections.abc import Iterable
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
_LATEST_EVENT = f"""
SELECT latest.id >> {COUNTER_BITS}, name, host, path, excluded_reason
FROM (
    SELECT visit_id + id_offset AS id, event_type_id, page_id
    FROM (SELECT * FROM events WHERE site_id = ? ORDER BY visit_id DESC, id_offset DESC LIMIT 200)
    ORDER BY id DESC LIMIT 1
) AS latest
JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
"""


def latest_events(conn: sqlite3.Connection, site_ids: Iterable[int]) -> dict[int, LatestEvent]:
    """Return the latest event of each of these sites, by site ID. Sites without events are left out."""
    rows = ((site_id, conn.execute(_LATEST_EVENT, (site_id,)).fetchone()) for site_id in site_ids)
    return {site_id: LatestEvent._make(row) for site_id, row in rows if row is not None}


def monthly_events(conn: sqlite3.Connection, month: str) -> dict[int, int]:
    """Return how many counted events each site received in a month (`2026-11`), by site ID."""
    return dict(conn.execute("SELECT site_id, events FROM monthly_usage WHERE month = ?", (month,)))
