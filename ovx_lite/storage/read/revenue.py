"""Revenue by dimensions and currency."""

import sqlite3
from collections.abc import Mapping, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Condition, Filter
from ovx_lite.storage.read import rollup_queries
from ovx_lite.storage.read.filter_sql import FilterSql
from ovx_lite.storage.read.from_clause import IS_COUNTED, dimension_columns, events_sql, group_key
from ovx_lite.storage.webhooks.goals import goals_of

# CROSS JOIN makes SQLite read this table last, so that it looks up only events that pass all conditions.
_JOIN_REVENUE = """
CROSS JOIN event_revenue ON event_revenue.site_id = e.site_id AND event_revenue.visit_id = e.visit_id
    AND event_revenue.id_offset = e.id_offset
"""
RevenueByKey = dict[tuple[str, ...], dict[str, tuple[int, int]]]
"""Transactions and the amount in minor units, by the values of the dimensions and by currency."""


def by_dimensions(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter] = (),
) -> RevenueByKey:
    """Return the revenue of a date range by dimensions and currency. Raises `ApiError`."""
    revenue: RevenueByKey = {}
    if "event:goal" in dimensions:
        position = dimensions.index("event:goal")
        other_dimensions = [dimension for dimension in dimensions if dimension != "event:goal"]
        for goal in goals_of(conn, site.id):
            revenue_of_goal = by_dimensions(
                conn, site, date_range, other_dimensions, [*filters, Condition("event:goal", "is", (goal.name,))]
            )
            revenue |= {
                (*key[:position], goal.name, *key[position:]): revenue_of_key
                for key, revenue_of_key in revenue_of_goal.items()
            }
        return revenue
    filter_sql = FilterSql(conn, site.id)
    columns = dimension_columns(filter_sql, dimensions)
    joins = f"JOIN event_types ON event_types.id = e.event_type_id {columns.joins} {_JOIN_REVENUE}"
    events_from = events_sql(
        filter_sql,
        site,
        date_range,
        condition=IS_COUNTED,
        filters=filters,
        joins=joins,
        dimensions=dimensions,
        event_type_condition="currency <> ''",
    )
    sql = f"""
        SELECT {columns.group_list} event_types.currency, count(*), sum(amount_minor)
        FROM {events_from} AND event_types.currency <> '' AND {columns.condition}
        GROUP BY {columns.group_list} event_types.currency
    """
    for *values, currency, transactions, amount_minor in conn.execute(sql, filter_sql.values):
        revenue.setdefault(group_key(values, dimensions), {})[currency] = (transactions, amount_minor)
    return revenue


def by_currency(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, filters: Sequence[Filter]
) -> Mapping[str, tuple[int, int]]:
    """Return transactions and the amount (minor units) of a date range by currency, most transactions first.

    Raises `ApiError`.
    """
    if not filters and rollup_queries.is_complete(conn, site, date_range):
        return rollup_queries.revenue_by_currency(conn, site, date_range)
    # A site without any revenue needs no query over its events.
    if not conn.execute("SELECT 1 FROM daily_revenue WHERE site_id = ? LIMIT 1", (site.id,)).fetchone():
        return {}
    revenue = by_dimensions(conn, site, date_range, (), filters).get((), {})
    return dict(sorted(revenue.items(), key=lambda item: (-item[1][0], item[0])))
