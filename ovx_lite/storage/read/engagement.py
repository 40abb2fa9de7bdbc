"""Time on page and scroll depth, from the engagement events of the browser script."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.storage.read.filter_sql import FilterSql
from ovx_lite.storage.read.from_clause import IS_COUNTED_ENGAGEMENT, dimension_columns, events_sql, group_key

Engagement = dict[tuple[str, ...], tuple[float, float | None]]
"""Seconds on a page, and the scroll depth in percent or None, by the values of dimensions."""


def by_dimensions(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter] = (),
) -> Engagement:
    """Return the average time on page and scroll depth of a date range, by dimensions. Raises `ApiError`.

    The averages are over pairs of a visit and a page: the visit's total time on the page, and its greatest depth there.
    Visits without engagement events do not count.
    """
    filter_sql = FilterSql(conn, site.id)
    columns = dimension_columns(filter_sql, dimensions)
    joins = f"JOIN pages AS p ON p.id = e.page_id {columns.joins}"
    column_names = "".join(f"d{index}, " for index in range(len(dimensions)))
    events_from = events_sql(
        filter_sql,
        site,
        date_range,
        condition=IS_COUNTED_ENGAGEMENT,
        filters=filters,
        joins=joins,
        dimensions=dimensions,
    )
    sql = f"""
        SELECT {column_names} total(ms) / count(*) / 1000, avg(scroll) FROM (
            SELECT {columns.select_list}
                sum({_bounded_number("ms", DAY_MS)}) AS ms, max({_bounded_number("scroll", 100)}) AS scroll
            FROM {events_from} AND v.id IS NOT NULL AND {columns.condition}
            GROUP BY {columns.group_list} e.visit_id, p.path
        ) {f"GROUP BY {column_names.rstrip(', ')}" if column_names else "HAVING count(*) > 0"}
    """
    return {
        group_key(values, dimensions): (time_on_page_s, scroll_percent)
        for *values, time_on_page_s, scroll_percent in conn.execute(sql, filter_sql.values)
    }


def _bounded_number(prop: str, max_value: int) -> str:
    """Return SQL for a property as a number from 0 to `max_value`; NULL if a caller sent anything but a number."""
    value = f"min(max(e.props ->> '$.{prop}', 0), {max_value})"
    return f"CASE WHEN json_type(e.props, '$.{prop}') IN ('integer', 'real') THEN {value} END"
