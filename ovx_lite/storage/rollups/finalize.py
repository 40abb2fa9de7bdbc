"""Finalizing days that are over: counting their exit pages and adding up their weeks.

The exit page of a visit is certain only when the day is over, because a visit never crosses midnight.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.domain.calendar import local_day, monday
from ovx_lite.domain.models import Site
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension, DimensionKey
from ovx_lite.storage.rollups.rebuild import insert_rollups
from ovx_lite.storage.rollups.value_limit import OTHER, max_values
from ovx_lite.storage.sqlite import transaction

_EXIT_PAGES = """
SELECT path, count(DISTINCT visitor_id), count(*) FROM visits JOIN pages ON pages.id = exit_page_id
WHERE site_id = ? AND visits.id >= ? AND visits.id < ? GROUP BY path ORDER BY count(*) DESC, path LIMIT ?
"""
_OTHER_EXIT_PAGES = """
SELECT count(DISTINCT visitor_id), count(*) FROM visits JOIN pages ON pages.id = exit_page_id
WHERE site_id = ? AND visits.id >= ? AND visits.id < ? AND path NOT IN (SELECT value FROM json_each(?))
"""


def sites_to_finalize(conn: sqlite3.Connection, sites: Iterable[Site], now_ms: int) -> list[Site]:
    """Return the sites with a day that is over at `now_ms` but not finalized yet."""
    return [site for site in sites if weekly.finalized_before_day(conn, site.id) < local_day(now_ms, site.timezone)]


def finalize_next_day(conn: sqlite3.Connection, site: Site, now_ms: int) -> bool:
    """Finalize the next day of a site that is over at `now_ms`, and its week. Return whether there was one.

    The days before the site's first event need no work: the first call skips them.
    """
    with transaction(conn):
        day, today = weekly.finalized_before_day(conn, site.id), local_day(now_ms, site.timezone)
        if day >= today:
            return False
        day_params = (site.id, *ids_of_day(day, site.timezone))
        first_day = next(iter(events.days(conn, site)), today)
        finalized_before_day = min(max(day + 1, first_day), today)
        conn.execute("INSERT OR REPLACE INTO finalized VALUES (?, ?)", (site.id, finalized_before_day))
        insert_rollups(conn, site.id, day, _exit_page_counts(conn, day_params))
        weekly.sum_week(conn, site.id, monday(day))
    return True


def _exit_page_counts(
    conn: sqlite3.Connection, day_params: tuple[int, int, int]
) -> dict[DimensionKey, tuple[int, int, int, int]]:
    """Return the counts of a day's exit pages. The day keeps those with most visits; the rest is counted as `OTHER`."""
    limit = max_values(conn)
    ranked = conn.execute(_EXIT_PAGES, (*day_params, limit + 1)).fetchall()
    top = ranked[:limit]
    rows: dict[DimensionKey, tuple[int, int, int, int]] = {
        (Dimension.EXIT, path): (*counts, 0, 0) for path, *counts in top
    }
    if len(ranked) > limit:
        paths = msgspec.json.encode([path for path, *_ in top]).decode()
        visitors, visits = conn.execute(_OTHER_EXIT_PAGES, (*day_params, paths)).fetchone()
        rows[Dimension.EXIT, OTHER] = (visitors, visits, 0, 0)
    return rows
