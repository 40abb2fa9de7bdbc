"""Whether the store is whole: the file itself, and what its tables say of each other."""

import sqlite3

from ovx_lite.store.people import NOBODY

_OF_EVENTS = """
SELECT site, events.id - visit AS began, min(events.id >> 21), max(events.id >> 21), sum(type = 'pageview'), count(*)
FROM events JOIN kinds ON kinds.id = kind WHERE visit IS NOT NULL GROUP BY site, began
"""
_OF_VISITS = "SELECT site, id, (id >> 21) - before, (id >> 21) + after, pageviews, events FROM visits"

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
    "events excluded and in a visit all the same": (
        "SELECT count(*) FROM events JOIN kinds ON kinds.id = kind WHERE excluded <> '' AND visit IS NOT NULL"
    ),
    "visits that are not what their events say": f"SELECT count(*) FROM ({_OF_EVENTS} EXCEPT {_OF_VISITS})",
    "visits without the events that they count": f"SELECT count(*) FROM ({_OF_VISITS} EXCEPT {_OF_EVENTS})",
}


def problems(conn: sqlite3.Connection) -> list[str]:
    """What is wrong with the store, a sentence each; none if all is well. Takes the store as of one moment."""
    conn.execute("BEGIN")
    try:
        found = [text for (text,) in conn.execute("PRAGMA integrity_check") if text != "ok"]
        found += [f"{table}: a row that refers to nothing" for table, *_ in conn.execute("PRAGMA foreign_key_check")]
        for what, query in _COUNTS.items():
            (count,) = conn.execute(query).fetchone()
            if count:
                found.append(f"{count} {what}")
    except sqlite3.DatabaseError as wrong:
        found = [f"the file is damaged: {wrong}"]
    finally:
        conn.execute("ROLLBACK")
    return found


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
