"""Checks the integrity of the store: the file itself, and whether its tables agree with each other."""

import sqlite3
from collections.abc import Iterator

from ovx_lite.domain.calendar import format_day, monday
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry, row_checks
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import IS_ENGAGEMENT
from ovx_lite.storage.read.persons import NO_PERSON
from ovx_lite.storage.rollups import rebuild, weekly
from ovx_lite.storage.rollups.dimensions import Dimension

_EVENTS_IN_VISITS = """
events JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
"""
_VISITS_FROM_EVENTS = f"""
SELECT events.site_id, visit_id, min(visit_id + id_offset >> 21), max(visit_id + id_offset >> 21),
    sum(type = 'pageview'), sum(NOT {IS_ENGAGEMENT})
FROM {_EVENTS_IN_VISITS} GROUP BY events.site_id, visit_id
"""
_VISITS_AS_STORED = "SELECT site_id, id, (id >> 21) - early_ms, (id >> 21) + elapsed_ms, pageviews, events FROM visits"
_MISMATCHED_VISITS = """
SELECT count(*) FROM visits
JOIN ({}) AS from_events ON from_events.site_id = visits.site_id AND from_events.visit_id = visits.id
WHERE {}
"""
# In a query with `min` or `max`, SQLite takes the bare columns from the row with that minimum or maximum.
_FIRST_EVENTS = f"""
SELECT events.site_id, visit_id, min(id_offset), events.traffic_source_id AS traffic_source_id,
    events.client_id AS client_id
FROM {_EVENTS_IN_VISITS}
WHERE NOT {IS_ENGAGEMENT} GROUP BY events.site_id, visit_id
"""
_VIEWED_PAGES = f"""
SELECT events.site_id, visit_id, {{}}(id_offset), events.page_id AS page_id FROM {_EVENTS_IN_VISITS}
WHERE type = 'pageview' AND path <> '' GROUP BY events.site_id, visit_id
"""

_CHECKS = {
    **{
        f"events with an unknown {column}": (
            f"SELECT count(*) FROM events WHERE {column} NOT IN (SELECT id FROM {table})"
        )
        for column, table in (
            ("event_type_id", "event_types"),
            ("page_id", "pages"),
            ("traffic_source_id", "traffic_sources"),
            ("client_id", "clients"),
        )
    },
    "events whose site does not exist": "SELECT count(*) FROM events WHERE site_id NOT IN (SELECT id FROM sites)",
    "visits whose site does not exist": "SELECT count(*) FROM visits WHERE site_id NOT IN (SELECT id FROM sites)",
    "imported lines whose site does not exist": (
        "SELECT count(*) FROM imported_lines WHERE site_id NOT IN (SELECT id FROM sites)"
    ),
    "events whose person does not exist": (
        "SELECT count(*) FROM events WHERE person_id IS NOT NULL AND person_id NOT IN (SELECT id FROM persons)"
    ),
    "identity links to a person who does not exist": (
        f"SELECT count(*) FROM identity_links WHERE person_id <> {NO_PERSON}"
        " AND person_id NOT IN (SELECT id FROM persons)"
    ),
    "excluded events that belong to a visit": f"SELECT count(*) FROM {_EVENTS_IN_VISITS} WHERE excluded_reason <> ''",
    "visits whose times or counts differ from their events": (
        f"SELECT count(*) FROM ({_VISITS_FROM_EVENTS} EXCEPT {_VISITS_AS_STORED})"
    ),
    "visits without the events that they count": (
        f"SELECT count(*) FROM ({_VISITS_AS_STORED} EXCEPT {_VISITS_FROM_EVENTS})"
    ),
    "events whose visit does not exist": (
        "SELECT count(*) FROM events WHERE id_offset <> 0"
        " AND NOT EXISTS (SELECT 1 FROM visits WHERE visits.site_id = events.site_id AND visits.id = visit_id)"
    ),
    "visits whose traffic source or client differs from their first event": _MISMATCHED_VISITS.format(
        _FIRST_EVENTS,
        "from_events.traffic_source_id <> visits.traffic_source_id OR from_events.client_id <> visits.client_id",
    ),
    "visits with a wrong entry page": _MISMATCHED_VISITS.format(
        _VIEWED_PAGES.format("min"), "from_events.page_id IS NOT entry_page_id"
    ),
    "visits with a wrong exit page": _MISMATCHED_VISITS.format(
        _VIEWED_PAGES.format("max"), "from_events.page_id IS NOT exit_page_id"
    ),
}


def problems(conn: sqlite3.Connection) -> list[str]:
    """Return the problems of the store, a line of text each; an empty list if it is intact.

    All checks run in one read transaction, so they see the same data.
    """
    conn.execute("PRAGMA cell_size_check = ON")
    conn.execute("BEGIN")
    try:
        messages = [_printable(text) for (text,) in conn.execute("PRAGMA integrity_check") if text != "ok"]
        messages += [
            f"{table}: a row refers to another row that does not exist"
            for table, *_ in conn.execute("PRAGMA foreign_key_check")
        ]
        messages += row_checks.problems(conn)
        if messages:
            return messages  # the checks below would fail on such rows
        for label, query in _CHECKS.items():
            (count,) = conn.execute(query).fetchone()
            if count:
                messages.append(f"{label}: {count}")
        for site in registry.all_sites(conn):
            messages += _rollup_problems(conn, site)
    except sqlite3.DatabaseError as exc:
        messages = [f"the file is damaged: {_printable(str(exc))}"]
    except UnicodeDecodeError:  # SQLite's message quotes the file
        messages = ["the file is damaged: it contains text that is not UTF-8"]
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
    return messages


def _printable(text: str) -> str:
    """Return a message of SQLite, which may quote the file, without characters that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:300])


def _rollup_problems(conn: sqlite3.Connection, site: Site) -> Iterator[str]:
    """Yield the differences between a site's rollups and its events. Days that wait for a rebuild are not compared."""
    dirty_days = {day for (day,) in conn.execute("SELECT day FROM dirty_days WHERE site_id = ?", (site.id,))}
    stored_days = {day for (day,) in conn.execute("SELECT day FROM daily_totals WHERE site_id = ?", (site.id,))}
    inconsistent_days = [
        day
        for day in sorted({*events.days(conn, site), *stored_days} - dirty_days)
        if not rebuild.is_consistent(conn, site, day)
    ]
    if inconsistent_days:
        examples = ", ".join(format_day(day) for day in inconsistent_days[:3]) + (
            ", …" if len(inconsistent_days) > 3 else ""
        )
        yield (
            f"days of {site.slug} with wrong counts: {len(inconsistent_days)} ({examples}). "
            "To correct them, run: ovx-lite check --rebuild"
        )
    finalized_before_day = weekly.finalized_before_day(conn, site.id)
    (mismatches,) = conn.execute(
        _MISMATCHED_WEEKS, {"site": site.id, "before_day": monday(finalized_before_day)}
    ).fetchone()
    if mismatches and not dirty_days:
        yield (
            f"weekly counts of {site.slug} that differ from the sum of their days: {mismatches}. "
            "To correct them, run: ovx-lite check --rebuild"
        )


_SUMS = "sum(visitors), sum(visits), sum(pageviews), sum(events)"
_WEEKS_FROM_DAYS = f"""
SELECT start_day - (start_day + 3) % 7 AS week, dimension, value_id, {_SUMS} FROM rollups
WHERE site_id = :site AND period_days = 1 AND start_day < :before_day AND dimension <> {int(Dimension.PERSON)}
GROUP BY week, dimension, value_id
"""
_WEEKS_AS_STORED = f"""
SELECT start_day, dimension, value_id, {_SUMS} FROM rollups WHERE site_id = :site AND period_days = 7
GROUP BY start_day, dimension, value_id
"""
_MISMATCHED_WEEKS = f"""
SELECT (SELECT count(*) FROM ({_WEEKS_FROM_DAYS} EXCEPT {_WEEKS_AS_STORED}))
    + (SELECT count(*) FROM ({_WEEKS_AS_STORED} EXCEPT {_WEEKS_FROM_DAYS}))
"""


def sizes(conn: sqlite3.Connection) -> dict[str, int]:
    """Return the numbers of sites, events and visits, and the bytes that the store uses (without free pages)."""
    tables = {
        table: int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in ("sites", "events", "visits")
    }
    page_count, free_page_count, page_size_bytes = (
        int(conn.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return tables | {"bytes": (page_count - free_page_count) * page_size_bytes}
