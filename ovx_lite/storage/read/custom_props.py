"""The properties of the events of one name, and what they have: one or two at once."""

import sqlite3
from collections.abc import Iterable, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import PROPS, Filter, Test
from ovx_lite.storage.read import event_queries, from_clause
from ovx_lite.storage.read.filter_sql import Matching

_MOST_KEYS = 20


def name_of(filters: Iterable[Test]) -> str:
    """The name of the events that filters leave, if they leave those of one alone; else `""`."""
    return next((test.values[0] for test in filters if _is_of_one_event(test)), "")


def keys(conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter]) -> list[str]:
    """The properties that events have, those that most have first."""
    matching = Matching(conn, site.number)
    joined = "JOIN json_each(e.props) AS prop"
    query = f"""
        SELECT prop.key FROM {from_clause.events(matching, site, period, from_clause.COUNTED, filters, joined)}
        GROUP BY prop.key ORDER BY count(*) DESC, prop.key LIMIT {_MOST_KEYS}
    """
    return [key for (key,) in conn.execute(query, matching.values)]


def chosen(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Test], names: tuple[str, ...]
) -> tuple[str, ...]:
    """The properties that a dashboard shows: those named; none if it shows events, and not those of one of them."""
    if not name_of(filters):
        return ()
    return names or tuple(keys(conn, site, period, filters)[:1])


def values(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter], names: Iterable[str], most: int
) -> tuple[list[tuple[tuple[str, ...], int, int]], int]:
    """What properties have together, with visitors and events: what most events have first; and how many there are."""
    dimensions = [PROPS + name for name in names]
    if not dimensions:
        return [], 0
    best, total = event_queries.top(event_queries.rows(conn, site, period, dimensions, filters), "events", most)
    return [(key, counts.visitors, counts.events) for key, counts in best], total


def _is_of_one_event(test: Test) -> bool:
    return test.dimension == "event:name" and test.operator == "is" and not test.negated and len(test.values) == 1
