"""Days that are over: what one knows of them then, and their weeks."""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.domain.calendar import local_day, monday
from ovx_lite.domain.models import Site
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension, Fact
from ovx_lite.storage.rollups.rebuild import put
from ovx_lite.storage.rollups.value_limit import OTHER, max_values
from ovx_lite.storage.sqlite import transaction

_EXITS = """
SELECT path, count(DISTINCT visitor_id), count(*) FROM visits JOIN pages ON pages.id = exit_page_id
WHERE site_id = ? AND visits.id >= ? AND visits.id < ? GROUP BY path ORDER BY count(*) DESC, path LIMIT ?
"""
_OTHER_EXITS = """
SELECT count(DISTINCT visitor_id), count(*) FROM visits JOIN pages ON pages.id = exit_page_id
WHERE site_id = ? AND visits.id >= ? AND visits.id < ? AND path NOT IN (SELECT value FROM json_each(?))
"""


def unsettled(conn: sqlite3.Connection, sites: Iterable[Site], now: int) -> list[Site]:
    """Those of the sites of which a day is over at `now` (Unix ms), and not settled yet."""
    return [site for site in sites if weekly.settled(conn, site.number) < local_day(now, site.timezone)]


def settle(conn: sqlite3.Connection, site: Site, now: int) -> bool:
    """Settle the first of a site's days that is over at `now` (Unix ms), and its week. Returns whether there was one.

    Of a site that none was settled of, all days before today are, which have nothing yet.
    """
    with transaction(conn):
        day, today = weekly.settled(conn, site.number), local_day(now, site.timezone)
        if day >= today:
            return False
        span = (site.number, *ids_of_day(day, site.timezone))
        first = next(iter(events.days(conn, site)), today)
        until = min(max(day + 1, first), today)
        conn.execute("INSERT OR REPLACE INTO finalized VALUES (?, ?)", (site.number, until))
        put(conn, site.number, day, _exits(conn, span))
        weekly.add_up(conn, site.number, monday(day))
    return True


def _exits(conn: sqlite3.Connection, span: tuple[int, int, int]) -> dict[Fact, tuple[int, int, int, int]]:
    """How often a day's visits ended with each page; of more pages than are kept, those with which most did."""
    limit = max_values(conn)
    ranked = conn.execute(_EXITS, (*span, limit + 1)).fetchall()
    kept = ranked[:limit]
    rows: dict[Fact, tuple[int, int, int, int]] = {(Dimension.EXIT, path): (*n, 0, 0) for path, *n in kept}
    if len(ranked) > limit:
        paths = msgspec.json.encode([path for path, *_ in kept]).decode()
        visitors, visits = conn.execute(_OTHER_EXITS, (*span, paths)).fetchone()
        rows[Dimension.EXIT, OTHER] = (visitors, visits, 0, 0)
    return rows
