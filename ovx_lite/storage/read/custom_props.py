"""Custom properties of events: their names, and the values of one or of several combined."""

import sqlite3
from collections.abc import Iterable, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import PROPS_PREFIX, Condition, Filter
from ovx_lite.storage.read import event_queries, from_clause
from ovx_lite.storage.read.filter_sql import FilterSql

_MAX_PROP_NAMES = 20


def event_name_of(filters: Iterable[Condition]) -> str:
    """Return the event name that filters select if they select exactly one, else `""`."""
    return next((condition.values[0] for condition in filters if _is_of_one_event(condition)), "")


def prop_names(conn: sqlite3.Connection, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> list[str]:
    """Return the names of the properties that events have, most frequent first, at most `_MAX_PROP_NAMES`."""
    filter_sql = FilterSql(conn, site.id)
    join = "JOIN json_each(e.props) AS prop"
    events_from = from_clause.events_sql(
        filter_sql, site, date_range, condition=from_clause.IS_COUNTED, filters=filters, joins=join
    )
    query = f"""
        SELECT prop.key FROM {events_from}
        GROUP BY prop.key ORDER BY count(*) DESC, prop.key LIMIT {_MAX_PROP_NAMES}
    """
    return [name for (name,) in conn.execute(query, filter_sql.values)]


def selected_props(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, filters: Sequence[Condition], names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the properties that the dashboard shows: `names`, or the most frequent one if there are no names.

    Return none unless the filters select exactly one event name.
    """
    if not event_name_of(filters):
        return ()
    return names or tuple(prop_names(conn, site, date_range, filters)[:1])


def prop_values(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    names: Iterable[str],
    limit: int,
) -> tuple[list[tuple[tuple[str, ...], int, int]], int]:
    """Return combinations of the values of properties, and how many combinations there are in all.

    Each is a tuple of the values, visitors and events. They are sorted by events, and there are at most `limit`.
    """
    dimensions = [PROPS_PREFIX + name for name in names]
    if not dimensions:
        return [], 0
    all_rows = event_queries.rows(conn, site, date_range, dimensions=dimensions, filters=filters)
    rows, total = event_queries.top(all_rows, "events", limit)
    return [(key, counts.visitors, counts.events) for key, counts in rows], total


def _is_of_one_event(condition: Condition) -> bool:
    return (
        condition.dimension == "event:name"
        and condition.operator == "is"
        and not condition.negated
        and len(condition.values) == 1
    )
