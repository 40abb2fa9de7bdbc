"""Reading stored events by day, and deleting them."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ovx_lite.domain.calendar import day_start_ms, local_day
from ovx_lite.domain.models import COUNTER_BITS, MAX_TIMESTAMP_MS, Site
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.projection.identity_links import PERSON_OF_EVENT
from ovx_lite.storage.rollups import weekly


def import_line_hashes(conn: sqlite3.Connection, site: Site, day: int) -> set[tuple[int, int]]:
    """Return the log lines that were imported for a site's day, as pairs of the time (Unix ms) and the line's hash."""
    query = f"SELECT logged_at, line_hash FROM imported_lines WHERE {_LOGGED_ON_DAY}"
    return set(conn.execute(query, (site.id, *ids_of_day(day, site.timezone))))


IS_ENGAGEMENT = "(name = 'engagement' AND api = 'apex')"
"""`EventType.is_engagement` as SQL over `event_types`."""

OF_DAY = "site_id = ? AND visit_id >= ? AND visit_id < ?"
"""The condition for events of a day, with a site's ID and `ids_of_day` as parameters: no visit crosses midnight."""

_LOGGED_ON_DAY = f"site_id = ? AND logged_at >= ? >> {COUNTER_BITS} AND logged_at < ? >> {COUNTER_BITS}"

REVENUE_OF_EVENT = """
CASE WHEN currency <> '' THEN (
    SELECT amount_minor FROM event_revenue AS revenue
    WHERE revenue.site_id = events.site_id AND revenue.visit_id = events.visit_id
        AND revenue.id_offset = events.id_offset
) END
"""
"""The revenue of an event (minor units) or NULL, as SQL over `events` and their `event_types`.

Only events of types with a currency have revenue. For the others, this reads nothing.
"""


def ids_of_day(day: int, timezone: str) -> tuple[int, int]:
    """Return the first ID that an event or visit of a day can have in a time zone, and the first of the next day."""
    begin_ms, end_ms = day_start_ms(day, timezone), day_start_ms(day + 1, timezone)
    return max(begin_ms, 0) << COUNTER_BITS, min(end_ms, MAX_TIMESTAMP_MS) << COUNTER_BITS


_SELECT_EVENTS = f"""
SELECT visit_id + id_offset AS id, visit_id + id_offset >> {COUNTER_BITS}, api, type, name, host, path,
       referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       country, browser, os, device, visitor_id, visits.id, external_id,
       context, props, {REVENUE_OF_EVENT}, currency, excluded_reason
FROM events
JOIN event_types ON event_types.id = event_type_id
JOIN pages ON pages.id = page_id
JOIN traffic_sources ON traffic_sources.id = events.traffic_source_id
JOIN clients ON clients.id = events.client_id
LEFT JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
LEFT JOIN persons ON persons.id = {PERSON_OF_EVENT}
WHERE events.{OF_DAY} AND visit_id + id_offset >= ? AND visit_id + id_offset < ? AND (excluded_reason = '' OR ?)
ORDER BY visit_id + id_offset
"""


class StoredEvent(NamedTuple):
    """An event as it is read from the store.

    `person` is the caller's ID of the person. `excluded` is the reason why the event is in no count, or `""`.
    """

    id: int
    timestamp_ms: int
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
    visitor_id: int | None
    visit_id: int | None
    person: str | None
    context: str
    props: str | None
    revenue_minor: int | None
    currency: str
    excluded: str


def read(
    conn: sqlite3.Connection, site: Site, since_ms: int, until_ms: int, with_excluded: bool
) -> Iterator[StoredEvent]:
    """Yield a site's events from `since_ms` to before `until_ms`, oldest first.

    With `with_excluded`, the events that are in no count are included.
    """
    for day in days(conn, site, since_ms, until_ms):
        params = (site.id, *ids_of_day(day, site.timezone), since_ms << COUNTER_BITS, until_ms << COUNTER_BITS)
        yield from map(StoredEvent._make, conn.execute(_SELECT_EVENTS, (*params, with_excluded)))


def days(conn: sqlite3.Connection, site: Site, since_ms: int = 0, until_ms: int = MAX_TIMESTAMP_MS) -> range:
    """Return the days from a site's first event to its last, within the time from `since_ms` to before `until_ms`."""
    # Two queries, because SQLite finds one minimum or one maximum without reading the other rows.
    first_id, last_id = (
        conn.execute(f"SELECT {aggregate}(visit_id) FROM events WHERE site_id = ?", (site.id,)).fetchone()[0]
        for aggregate in ("min", "max")
    )
    if first_id is None or since_ms >= until_ms:
        return range(0)
    stored_days = [local_day(id >> COUNTER_BITS, site.timezone) for id in (first_id, last_id)]
    begin_day, end_day = (
        local_day(min(timestamp_ms, MAX_TIMESTAMP_MS), site.timezone) for timestamp_ms in (since_ms, until_ms - 1)
    )
    return range(max(begin_day, stored_days[0]), min(end_day, stored_days[1]) + 1)


def oldest_event_ms(conn: sqlite3.Connection, site_id: int) -> int | None:
    """Return the time (Unix ms) of the event that began a site's oldest visit; None if the site has no events."""
    (id,) = conn.execute("SELECT min(visit_id) FROM events WHERE site_id = ?", (site_id,)).fetchone()
    return None if id is None else id >> COUNTER_BITS


def count_before(conn: sqlite3.Connection, site: Site, day: int) -> int:
    """Count a site's events of the days before `day` (days since 1970-01-01, in the site's time zone)."""
    end_id, _ = ids_of_day(day, site.timezone)
    (count,) = conn.execute(
        "SELECT count(*) FROM events WHERE site_id = ? AND visit_id < ?", (site.id, end_id)
    ).fetchone()
    return int(count)


def delete_day(conn: sqlite3.Connection, site: Site, day: int) -> int:
    """Delete the events, visits and counts of a site's day. Return the number of events.

    Call it inside a transaction.
    """
    day_params = (site.id, *ids_of_day(day, site.timezone))
    conn.execute("DELETE FROM visits WHERE site_id = ? AND id >= ? AND id < ?", day_params)
    conn.execute(f"DELETE FROM event_revenue WHERE {OF_DAY}", day_params)
    conn.execute(f"DELETE FROM imported_lines WHERE {_LOGGED_ON_DAY}", day_params)
    weekly.delete_day(conn, site.id, day)
    return conn.execute(f"DELETE FROM events WHERE {OF_DAY}", day_params).rowcount


def delete_all(conn: sqlite3.Connection, site_id: int) -> int:
    """Delete a site's events, visits and counts, and rows of lookup tables without events. Return the number of events.

    Call it inside a transaction, in another process than the server: the server notices the write and empties its
    caches.
    """
    deleted = conn.execute("DELETE FROM events WHERE site_id = ?", (site_id,)).rowcount
    for table in ("event_revenue", "imported_lines", "visits", "open_visits"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site_id,))
    weekly.delete_all(conn, site_id)
    accepted_events = list(event_journal.read_all(conn))  # of other sites: they refer to rows that stay
    for table, column in (
        ("pages", "page_id"),
        ("traffic_sources", "traffic_source_id"),
        ("clients", "client_id"),
        ("event_types", "event_type_id"),
    ):
        row_ids = msgspec.json.encode({getattr(event, column) for event in accepted_events}).decode()
        conn.execute(
            f"DELETE FROM {table} WHERE id NOT IN (SELECT {column} FROM events)"
            " AND id NOT IN (SELECT value FROM json_each(?))",
            (row_ids,),
        )
    conn.execute("DELETE FROM dimension_values WHERE id NOT IN (SELECT value_id FROM rollups)")
    return deleted
