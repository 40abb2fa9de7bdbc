"""Whether the store is whole: the file itself, and what its tables say of each other."""

import sqlite3
from collections.abc import Iterator

from ovx_lite.domain.calendar import iso, monday
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry, row_checks
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import IS_ENGAGEMENT
from ovx_lite.storage.read.persons import NOBODY
from ovx_lite.storage.rollups import rebuild, weekly
from ovx_lite.storage.rollups.dimensions import Dimension

_IN_VISITS = """
events JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
"""
_OF_EVENTS = f"""
SELECT events.site_id, visit_id, min(visit_id + id_offset >> 21), max(visit_id + id_offset >> 21),
    sum(type = 'pageview'), sum(NOT {IS_ENGAGEMENT})
FROM {_IN_VISITS} GROUP BY events.site_id, visit_id
"""
_OF_VISITS = "SELECT site_id, id, (id >> 21) - early_ms, (id >> 21) + elapsed_ms, pageviews, events FROM visits"
# SQLite takes the other columns of the row that has the least, or the greatest.
_FIRST_AND_LAST = """
SELECT count(*) FROM visits
JOIN ({}) AS from_events ON from_events.site_id = visits.site_id AND from_events.visit_id = visits.id
WHERE {}
"""
_FIRST = f"""
SELECT events.site_id, visit_id, min(id_offset), events.traffic_source_id AS traffic_source_id,
    events.client_id AS client_id
FROM {_IN_VISITS}
WHERE NOT {IS_ENGAGEMENT} GROUP BY events.site_id, visit_id
"""
_VIEWED = f"""
SELECT events.site_id, visit_id, {{}}(id_offset), events.page_id AS page_id FROM {_IN_VISITS}
WHERE type = 'pageview' AND path <> '' GROUP BY events.site_id, visit_id
"""

_COUNTS = {
    **{
        f"events whose {code} is unknown": f"SELECT count(*) FROM events WHERE {code} NOT IN (SELECT id FROM {table})"
        for code, table in (
            ("event_type_id", "event_types"),
            ("page_id", "pages"),
            ("traffic_source_id", "traffic_sources"),
            ("client_id", "clients"),
        )
    },
    "events of no site": "SELECT count(*) FROM events WHERE site_id NOT IN (SELECT id FROM sites)",
    "visits of no site": "SELECT count(*) FROM visits WHERE site_id NOT IN (SELECT id FROM sites)",
    "events of persons that are not there": (
        "SELECT count(*) FROM events WHERE person_id IS NOT NULL AND person_id NOT IN (SELECT id FROM persons)"
    ),
    "identity links to persons that are not there": (
        f"SELECT count(*) FROM identity_links WHERE person_id <> {NOBODY} AND person_id NOT IN (SELECT id FROM persons)"
    ),
    "events excluded and in a visit all the same": (f"SELECT count(*) FROM {_IN_VISITS} WHERE excluded_reason <> ''"),
    "visits that are not what their events say": f"SELECT count(*) FROM ({_OF_EVENTS} EXCEPT {_OF_VISITS})",
    "visits without the events that they count": f"SELECT count(*) FROM ({_OF_VISITS} EXCEPT {_OF_EVENTS})",
    "events of visits that are not there": (
        "SELECT count(*) FROM events WHERE id_offset <> 0"
        " AND NOT EXISTS (SELECT 1 FROM visits WHERE visits.site_id = events.site_id AND visits.id = visit_id)"
    ),
    "visits with another traffic source or client than their first event": _FIRST_AND_LAST.format(
        _FIRST,
        "from_events.traffic_source_id <> visits.traffic_source_id OR from_events.client_id <> visits.client_id",
    ),
    "visits that began with another page": _FIRST_AND_LAST.format(
        _VIEWED.format("min"), "from_events.page_id IS NOT entry_page_id"
    ),
    "visits that ended with another page": _FIRST_AND_LAST.format(
        _VIEWED.format("max"), "from_events.page_id IS NOT exit_page_id"
    ),
}


def problems(conn: sqlite3.Connection) -> list[str]:
    """What is wrong with the store, a sentence each; none if all is well. Takes the store as of one moment."""
    conn.execute("PRAGMA cell_size_check = ON")
    conn.execute("BEGIN")
    try:
        found = [_printable(text) for (text,) in conn.execute("PRAGMA integrity_check") if text != "ok"]
        found += [f"{table}: a row that refers to nothing" for table, *_ in conn.execute("PRAGMA foreign_key_check")]
        found += row_checks.problems(conn)
        if found:
            return found  # nothing can be counted of such rows
        for what, query in _COUNTS.items():
            (count,) = conn.execute(query).fetchone()
            if count:
                found.append(f"{count} {what}")
        for site in registry.all_sites(conn):
            found += _miscounted(conn, site)
    except sqlite3.DatabaseError as wrong:
        found = [f"the file is damaged: {_printable(str(wrong))}"]
    except UnicodeDecodeError:  # of a message of SQLite's that quotes the file
        found = ["the file is damaged: it has text that is not UTF-8"]
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
    return found


def _printable(text: str) -> str:
    """A message of SQLite's, which may quote the file, for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])


def _miscounted(conn: sqlite3.Connection, site: Site) -> Iterator[str]:
    """Where what was counted of a site is not what its events say."""
    stale = {day for (day,) in conn.execute("SELECT day FROM dirty_days WHERE site_id = ?", (site.number,))}
    counted = {day for (day,) in conn.execute("SELECT day FROM daily_totals WHERE site_id = ?", (site.number,))}
    wrong = [
        day for day in sorted({*events.days(conn, site), *counted} - stale) if not rebuild.is_right(conn, site, day)
    ]
    if wrong:
        named = ", ".join(iso(day) for day in wrong[:3]) + (", …" if len(wrong) > 3 else "")
        yield f"{len(wrong)} days of {site.id} that were not counted right ({named}): ovx-lite check --rebuild"
    over = weekly.settled(conn, site.number)
    (weeks,) = conn.execute(_WEEKS, {"site": site.number, "before_day": monday(over)}).fetchone()
    if weeks and not stale:
        yield f"{weeks} counts of weeks of {site.id} that are not their days' sum: ovx-lite check --rebuild"


_COLUMNS = "sum(visitors), sum(visits), sum(pageviews), sum(events)"
_BY_DAYS = f"""
SELECT start_day - (start_day + 3) % 7 AS week, dimension, value_id, {_COLUMNS} FROM rollups
WHERE site_id = :site AND period_days = 1 AND start_day < :before_day AND dimension <> {int(Dimension.PERSON)}
GROUP BY week, dimension, value_id
"""
_BY_WEEKS = f"""
SELECT start_day, dimension, value_id, {_COLUMNS} FROM rollups WHERE site_id = :site AND period_days = 7
GROUP BY start_day, dimension, value_id
"""
_WEEKS = f"""
SELECT (SELECT count(*) FROM ({_BY_DAYS} EXCEPT {_BY_WEEKS})) + (SELECT count(*) FROM ({_BY_WEEKS} EXCEPT {_BY_DAYS}))
"""


def sizes(conn: sqlite3.Connection) -> dict[str, int]:
    """How much there is: sites, events and visits, and the bytes they take."""
    tables = {
        table: int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in ("sites", "events", "visits")
    }
    pages, free, size = (
        int(conn.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return tables | {"bytes": (pages - free) * size}
