"""The names of the custom properties of events."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.storage.read import from_clause
from ovx_lite.storage.read.filter_sql import FilterSql

_MAX_PROP_NAMES = 20


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
