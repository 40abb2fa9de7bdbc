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
events JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page
JOIN visits ON visits.site = events.site AND visits.id = visit
"""
_OF_EVENTS = f"""
SELECT events.site, visit, min(visit + later >> 21), max(visit + later >> 21), sum(type = 'pageview'),
    sum(NOT {IS_ENGAGEMENT})
FROM {_IN_VISITS} GROUP BY events.site, visit
"""
_OF_VISITS = "SELECT site, id, (id >> 21) - before, (id >> 21) + after, pageviews, events FROM visits"
# SQLite takes the other columns of the row that has the least, or the greatest.
_FIRST_AND_LAST = """
SELECT count(*) FROM visits JOIN ({}) AS found ON found.site = visits.site AND found.visit = visits.id
WHERE {}
"""
_FIRST = f"""
SELECT events.site, visit, min(later), events.origin AS origin, events.client AS client FROM {_IN_VISITS}
WHERE NOT {IS_ENGAGEMENT} GROUP BY events.site, visit
"""
_VIEWED = f"""
SELECT events.site, visit, {{}}(later), events.page AS page FROM {_IN_VISITS}
WHERE type = 'pageview' AND path <> '' GROUP BY events.site, visit
"""

_COUNTS = {
    **{
        f"events whose {code} is unknown": f"SELECT count(*) FROM events WHERE {code} NOT IN (SELECT id FROM {code}s)"
        for code in ("kind", "page", "origin", "client")
    },
    "events of no site": "SELECT count(*) FROM events WHERE site NOT IN (SELECT number FROM sites)",
    "visits of no site": "SELECT count(*) FROM visits WHERE site NOT IN (SELECT number FROM sites)",
    "events of persons that are not there": (
        "SELECT count(*) FROM events WHERE person IS NOT NULL AND person NOT IN (SELECT number FROM persons)"
    ),
    "ties to persons that are not there": (
        f"SELECT count(*) FROM ties WHERE person <> {NOBODY} AND person NOT IN (SELECT number FROM persons)"
    ),
    "events excluded and in a visit all the same": (f"SELECT count(*) FROM {_IN_VISITS} WHERE excluded <> ''"),
    "visits that are not what their events say": f"SELECT count(*) FROM ({_OF_EVENTS} EXCEPT {_OF_VISITS})",
    "visits without the events that they count": f"SELECT count(*) FROM ({_OF_VISITS} EXCEPT {_OF_EVENTS})",
    "events of visits that are not there": (
        "SELECT count(*) FROM events WHERE later <> 0"
        " AND NOT EXISTS (SELECT 1 FROM visits WHERE visits.site = events.site AND visits.id = visit)"
    ),
    "visits with another origin or client than their first event": _FIRST_AND_LAST.format(
        _FIRST, "found.origin <> visits.origin OR found.client <> visits.client"
    ),
    "visits that began with another page": _FIRST_AND_LAST.format(_VIEWED.format("min"), "found.page IS NOT entry"),
    "visits that ended with another page": _FIRST_AND_LAST.format(_VIEWED.format("max"), "found.page IS NOT exit"),
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
    stale = {day for (day,) in conn.execute("SELECT day FROM stale WHERE site = ?", (site.number,))}
    counted = {day for (day,) in conn.execute("SELECT day FROM days WHERE site = ?", (site.number,))}
    wrong = [
        day for day in sorted({*events.days(conn, site), *counted} - stale) if not rebuild.is_right(conn, site, day)
    ]
    if wrong:
        named = ", ".join(iso(day) for day in wrong[:3]) + (", …" if len(wrong) > 3 else "")
        yield f"{len(wrong)} days of {site.id} that were not counted right ({named}): ovx-lite check --rebuild"
    over = weekly.settled(conn, site.number)
    (weeks,) = conn.execute(_WEEKS, {"site": site.number, "over": monday(over)}).fetchone()
    if weeks and not stale:
        yield f"{weeks} counts of weeks of {site.id} that are not their days' sum: ovx-lite check --rebuild"


_COLUMNS = "sum(visitors), sum(visits), sum(pageviews), sum(events)"
_BY_DAYS = f"""
SELECT begins - (begins + 3) % 7 AS week, dimension, value, {_COLUMNS} FROM rollups
WHERE site = :site AND span = 1 AND begins < :over AND dimension <> {int(Dimension.PERSON)}
GROUP BY week, dimension, value
"""
_BY_WEEKS = f"""
SELECT begins, dimension, value, {_COLUMNS} FROM rollups WHERE site = :site AND span = 7
GROUP BY begins, dimension, value
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
