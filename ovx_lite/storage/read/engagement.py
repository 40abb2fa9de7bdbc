"""How long and how far pages were looked at, where browsers told."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.storage.read.filter_sql import FilterSql
from ovx_lite.storage.read.from_clause import IS_COUNTED_ENGAGEMENT, dimension_columns, events_sql, group_key

_DAY_MS = 86_400_000

Engagement = dict[tuple[str, ...], tuple[float, float | None]]
"""By what stands in the dimensions: seconds on a page, and how far it was scrolled, in percent."""


def by_dimensions(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter] = (),
) -> Engagement:
    """How long and how far pages were looked at, by dimensions, where their visitors' browsers told. Raises `ApiError`.

    Of each visit, all the time that it was on a page, and the farthest that it scrolled there.
    """
    filter_sql = FilterSql(conn, site.id)
    columns = dimension_columns(filter_sql, dimensions)
    joins = f"JOIN pages AS p ON p.id = e.page_id {columns.joins}"
    column_names = "".join(f"d{index}, " for index in range(len(dimensions)))
    sql = f"""
        SELECT {column_names} total(ms) / count(*) / 1000, avg(scroll) FROM (
            SELECT {columns.select_list} sum({_bounded_number("ms", _DAY_MS)}) AS ms, max({_bounded_number("scroll", 100)}) AS scroll
            FROM {events_sql(filter_sql, site, date_range, IS_COUNTED_ENGAGEMENT, filters, joins, dimensions)}
                AND v.id IS NOT NULL AND {columns.condition}
            GROUP BY {columns.group_list} e.visit_id, p.path
        ) {f"GROUP BY {column_names.rstrip(', ')}" if column_names else "HAVING count(*) > 0"}
    """
    return {
        group_key(values, dimensions): (time_on_page_s, scroll_percent)
        for *values, time_on_page_s, scroll_percent in conn.execute(sql, filter_sql.values)
    }


def _bounded_number(prop: str, max_value: int) -> str:
    """A property that is to be a number from 0 to `most`; callers may have sent anything."""
    value = f"min(max(e.props ->> '$.{prop}', 0), {max_value})"
    return f"CASE WHEN json_type(e.props, '$.{prop}') IN ('integer', 'real') THEN {value} END"
