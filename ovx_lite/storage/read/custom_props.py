"""The properties of the events of one name, and what they have: one or two at once."""

import sqlite3
from collections.abc import Iterable, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import PROPS_PREFIX, Condition, Filter
from ovx_lite.storage.read import event_queries, from_clause
from ovx_lite.storage.read.filter_sql import FilterSql

_MAX_PROP_NAMES = 20


def event_name_of(filters: Iterable[Condition]) -> str:
    """The name of the events that filters leave, if they leave those of one alone; else `""`."""
    return next((condition.values[0] for condition in filters if _is_of_one_event(condition)), "")


def prop_names(conn: sqlite3.Connection, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> list[str]:
    """The properties that events have, those that most have first."""
    filter_sql = FilterSql(conn, site.id)
    join = "JOIN json_each(e.props) AS prop"
    query = f"""
        SELECT prop.key FROM {from_clause.events_sql(filter_sql, site, date_range, from_clause.IS_COUNTED, filters, join)}
        GROUP BY prop.key ORDER BY count(*) DESC, prop.key LIMIT {_MAX_PROP_NAMES}
    """
    return [name for (name,) in conn.execute(query, filter_sql.values)]


def selected_props(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, filters: Sequence[Condition], names: tuple[str, ...]
) -> tuple[str, ...]:
    """The properties that a dashboard shows: those named; none if it shows events, and not those of one of them."""
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
    """What properties have together, with visitors and events: what most events have first; and how many there are."""
    dimensions = [PROPS_PREFIX + name for name in names]
    if not dimensions:
        return [], 0
    top, total = event_queries.top(event_queries.rows(conn, site, date_range, dimensions, filters), "events", limit)
    return [(key, counts.visitors, counts.events) for key, counts in top], total


def _is_of_one_event(condition: Condition) -> bool:
    return (
        condition.dimension == "event:name"
        and condition.operator == "is"
        and not condition.negated
        and len(condition.values) == 1
    )
