"""The inputs for the metrics of a query, for each of its groups."""

import sqlite3
from collections.abc import Callable, Iterator

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import TIME_DIMENSIONS, Condition
from ovx_lite.stats.metrics import Counts, GroupKey, MetricInputs
from ovx_lite.stats.query import Query
from ovx_lite.storage.read import engagement, event_queries, revenue

_COUNTS_OF_METRIC = {
    "views_per_visit": ("pageviews", "visits"),
    "bounce_rate": ("bounces", "visits"),
    "visit_duration": ("duration_ms", "visits"),
    "conversion_rate": ("visitors",),
}


def load(
    conn: sqlite3.Connection, site: Site, query: Query, date_range: DateRange
) -> Iterator[tuple[GroupKey, MetricInputs]]:
    """Yield the inputs for the metrics of each group of a query in a date range. Raises `ApiError`."""
    needs = {need for name in query.metrics for need in _COUNTS_OF_METRIC.get(name, (name,)) if need in Counts._fields}
    revenue_by_key, engagement_by_key = revenue.RevenueByKey(), engagement.Engagement()
    if "total_revenue" in query.metrics or "average_revenue" in query.metrics:
        revenue_by_key = revenue.by_dimensions(conn, site, date_range, query.dimensions, query.filters)
    if "time_on_page" in query.metrics or "scroll_depth" in query.metrics:
        engagement_by_key = engagement.by_dimensions(conn, site, date_range, query.dimensions, query.filters)
    total_visitors = _total_visitors(conn, site, query, date_range) if "conversion_rate" in query.metrics else None
    exact = bool(revenue_by_key or engagement_by_key)  # these have exact values, which need their own groups
    rows = event_queries.rows(
        conn,
        site,
        date_range,
        dimensions=query.dimensions,
        filters=query.filters,
        needs=needs or {"visitors"},
        exact=exact,
    )
    for key, counts in rows:
        time_on_page_s, scroll_percent = engagement_by_key.get(key, (None, None))
        yield (
            key,
            MetricInputs(
                counts=counts,
                total_visitors=total_visitors(key) if total_visitors else 0,
                revenue_by_currency=revenue_by_key.pop(key, {}),
                time_on_page_s=time_on_page_s,
                scroll_percent=scroll_percent,
            ),
        )
    for key, revenue_by_currency in revenue_by_key.items():
        yield key, MetricInputs(revenue_by_currency=revenue_by_currency)


def _total_visitors(
    conn: sqlite3.Connection, site: Site, query: Query, date_range: DateRange
) -> Callable[[GroupKey], int]:
    """Return a function from a group to the number of visitors without the query's filters on goals.

    Conversion rates are relative to it. If the query has time dimensions, it is the number in the group's bucket.
    """
    filters = tuple(
        node for node in query.filters if not (isinstance(node, Condition) and node.dimension == "event:goal")
    )
    time_dimensions = [dimension for dimension in query.dimensions if dimension in TIME_DIMENSIONS]
    counts_by_time = event_queries.groups(
        conn, site, date_range, dimensions=time_dimensions, filters=filters, needs={"visitors"}
    )
    positions = [query.dimensions.index(dimension) for dimension in time_dimensions]

    def total_visitors(key: GroupKey) -> int:
        counts = counts_by_time.get(tuple(key[position] for position in positions))
        return counts.visitors if counts else 0

    return total_visitors
