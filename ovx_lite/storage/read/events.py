"""Events as they are read back, by day, and forgotten."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from ovx_lite.domain.calendar import day_begins, local_day
from ovx_lite.domain.models import COUNTER_BITS, LATEST, Site
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.write.identity_links import OWNER


def lines(conn: sqlite3.Connection, site: Site, day: int) -> set[tuple[int, int]]:
    """The log lines that were imported to a site for one of its days: of each its time (Unix ms) and its digest."""
    query = f"""
        SELECT visit_id + id_offset >> {COUNTER_BITS}, import_line_hash FROM events
        WHERE {OF_DAY} AND import_line_hash IS NOT NULL
    """
    return set(conn.execute(query, (site.number, *ids_of_day(day, site.timezone))))


IS_ENGAGEMENT = "(name = 'engagement' AND api = 'apex')"
"""`Kind.is_engagement` as SQL, of a row of `event_types`."""

OF_DAY = "site_id = ? AND visit_id >= ? AND visit_id < ?"
"""Events of a day, as SQL for a site's number and `ids_of_day`: no visit goes over midnight."""


def ids_of_day(day: int, timezone: str) -> tuple[int, int]:
    """The least number of an event, or visit, of a day in a time zone, and that of the next day."""
    begin, end = day_begins(day, timezone), day_begins(day + 1, timezone)
    return max(begin, 0) << COUNTER_BITS, min(end, LATEST) << COUNTER_BITS


_READ = f"""
SELECT visit_id + id_offset AS id, visit_id + id_offset >> {COUNTER_BITS}, api, type, name, host, path,
       referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       country, browser, os, device, visitor_id, visits.id, external_id,
       context, props, revenue_minor, currency, excluded_reason
FROM events
JOIN event_types ON event_types.id = event_type_id
JOIN pages ON pages.id = page_id
JOIN traffic_sources ON traffic_sources.id = events.traffic_source_id
JOIN clients ON clients.id = events.client_id
LEFT JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
LEFT JOIN persons ON persons.id = {OWNER}
WHERE events.{OF_DAY} AND visit_id + id_offset >= ? AND visit_id + id_offset < ? AND (excluded_reason = '' OR ?)
ORDER BY visit_id + id_offset
"""


class Stored(NamedTuple):
    """An event as it is read back; `ts` in Unix milliseconds, `revenue` in minor units."""

    id: int
    ts: int
    api: str
    type: str
    name: str
    host: str
    path: str
    referrer: str
    source: str
    channel: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str
    country: str
    browser: str
    os: str
    device: str
    visitor: int | None
    visit: int | None
    person: str | None
    context: str
    props: str | None
    revenue: int | None
    currency: str
    excluded: str


def read(conn: sqlite3.Connection, site: Site, since: int, until: int, excluded: bool) -> Iterator[Stored]:
    """A site's events from `since` to before `until` (Unix milliseconds), oldest first, one at a time.

    With `excluded`, also those that are in no count.
    """
    for day in days(conn, site, since, until):
        of_day = (site.number, *ids_of_day(day, site.timezone), since << COUNTER_BITS, until << COUNTER_BITS)
        yield from map(Stored._make, conn.execute(_READ, (*of_day, excluded)))


def days(conn: sqlite3.Connection, site: Site, since: int = 0, until: int = LATEST) -> range:
    """A site's days from that of its first event to that of its last, as far as they are in this time (Unix ms)."""
    # Each on its own is a look at one end of the table.
    first, last = (
        conn.execute(f"SELECT {end}(visit_id) FROM events WHERE site_id = ?", (site.number,)).fetchone()[0]
        for end in ("min", "max")
    )
    if first is None or since >= until:
        return range(0)
    known = [local_day(id >> COUNTER_BITS, site.timezone) for id in (first, last)]
    begin, end = (local_day(min(ts, LATEST), site.timezone) for ts in (since, until - 1))
    return range(max(begin, known[0]), min(end, known[1]) + 1)


def oldest(conn: sqlite3.Connection, site: int) -> int | None:
    """When the oldest visit of a site was told of first (Unix ms); None if it has no events."""
    (id,) = conn.execute("SELECT min(visit_id) FROM events WHERE site_id = ?", (site,)).fetchone()
    return None if id is None else id >> COUNTER_BITS


def count_before(conn: sqlite3.Connection, site: Site, day: int) -> int:
    """Count a site's events of the days before `day` (days since 1970-01-01, in the site's time zone)."""
    before, _ = ids_of_day(day, site.timezone)
    (count,) = conn.execute(
        "SELECT count(*) FROM events WHERE site_id = ? AND visit_id < ?", (site.number, before)
    ).fetchone()
    return int(count)


def forget_day(conn: sqlite3.Connection, site: Site, day: int) -> int:
    """Delete a day of a site, its events, visits and counts. Returns how many events. Inside a transaction."""
    span = (site.number, *ids_of_day(day, site.timezone))
    conn.execute("DELETE FROM visits WHERE site_id = ? AND id >= ? AND id < ?", span)
    weekly.forget(conn, site.number, day)
    return conn.execute(f"DELETE FROM events WHERE {OF_DAY}", span).rowcount


def forget_all(conn: sqlite3.Connection, site: int) -> int:
    """Delete a site's events and visits, and the strings that no other site's have. Returns how many events.

    Inside a transaction, of another process than the server's: it notices, and looks up its codes again.
    """
    deleted = conn.execute("DELETE FROM events WHERE site_id = ?", (site,)).rowcount
    for table in ("visits", "open_visits"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site,))
    weekly.forget_all(conn, site)
    for table, code in (
        ("pages", "page_id"),
        ("traffic_sources", "traffic_source_id"),
        ("clients", "client_id"),
        ("event_types", "event_type_id"),
    ):
        conn.execute(f"DELETE FROM {table} WHERE id NOT IN (SELECT {code} FROM events)")
    conn.execute("DELETE FROM dimension_values WHERE id NOT IN (SELECT value_id FROM rollups)")
    return deleted
