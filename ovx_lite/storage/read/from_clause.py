"""What is looked at for a query, as SQL: the days, the events that pass filters, and what stands in dimensions."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.stats.date_ranges import CLOCK_UNITS_MS, DateRange, dst_segments, format_day_bucket, format_time_bucket
from ovx_lite.stats.filters import PROPS_PREFIX, TIME_DIMENSIONS, Filter
from ovx_lite.storage.read import events as events_of
from ovx_lite.storage.read.events import IS_ENGAGEMENT, ids_of_day
from ovx_lite.storage.read.filter_sql import LOOKUP_COLUMNS, PROP_VALUE, FilterSql, needs_visit

OPTIONAL_DIMENSIONS = {
    *("event:page", "event:hostname", "event:currency", "visit:entry_page", "visit:exit_page", "visit:referrer"),
    *("visit:utm_source", "visit:utm_medium", "visit:utm_campaign", "visit:utm_content", "visit:utm_term"),
}
"""Dimensions that not everything has: what has none is in no group of them. The rest is in the group `""`."""

DAY_UNITS = {
    "time:day": "{0}",
    "time:week": "{0} - ({0} + 3) % 7",
    "time:month": "CAST(strftime('%s', {0} * 86400, 'unixepoch', 'start of month') AS INTEGER) / 86400",
}
"""The first day of the day, week or month that a day (SQL) is in."""

IS_COUNTED = f"e.event_type_id NOT IN (SELECT id FROM event_types WHERE excluded_reason <> '' OR {IS_ENGAGEMENT})"
IS_COUNTED_ENGAGEMENT = (
    f"e.event_type_id IN (SELECT id FROM event_types WHERE excluded_reason = '' AND {IS_ENGAGEMENT})"
)
IS_PAGEVIEW = "e.event_type_id IN (SELECT id FROM event_types WHERE type = 'pageview')"
_DAYS_FROM_JSON = """
(SELECT value ->> 0 AS day, value ->> 1 AS low, value ->> 2 AS high, value ->> 3 AS since, value ->> 4 AS until,
    value ->> 5 AS utc_offset_ms FROM json_each({})) AS date_range
"""


def days_table(filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str] = ()) -> str:
    """The days of a period that have events, as a table: their visits' numbers, and those of the events that count.

    Where one asks for hours or minutes, days on which the clocks change are cut there, and `utc_offset_ms` is ms before
    UTC.
    """
    stored_days = events_of.days(filter_sql.conn, site, date_range.since_ms, date_range.until_ms)
    rows = []
    if any(dimension in CLOCK_UNITS_MS for dimension in dimensions):
        for day, since_ms, until_ms, utc_offset_ms in dst_segments(date_range, site.timezone):
            if day in stored_days:
                rows.append(
                    (
                        day,
                        *ids_of_day(day, site.timezone),
                        since_ms << COUNTER_BITS,
                        until_ms << COUNTER_BITS,
                        utc_offset_ms,
                    )
                )
    else:
        bounds = (date_range.since_ms << COUNTER_BITS, date_range.until_ms << COUNTER_BITS, 0)
        rows = [(day, *ids_of_day(day, site.timezone), *bounds) for day in stored_days]
    return _DAYS_FROM_JSON.format(filter_sql.bind(msgspec.json.encode(rows).decode()))


def _column_and_join(filter_sql: FilterSql, dimension: str) -> tuple[str, str]:
    """What stands in a dimension, as SQL, and what is to be joined for it."""
    if dimension in CLOCK_UNITS_MS:
        return f"((e.visit_id + e.id_offset >> {COUNTER_BITS}) + utc_offset_ms) / {CLOCK_UNITS_MS[dimension]}", ""
    if dimension in TIME_DIMENSIONS:
        return DAY_UNITS[dimension].format("day"), ""
    if dimension.startswith(PROPS_PREFIX):
        name = filter_sql.bind(dimension.removeprefix(PROPS_PREFIX))
        alias = f"prop_{name.removeprefix(':')}"
        return PROP_VALUE.format(alias), f"JOIN json_each(e.props) AS {alias} ON {alias}.key = {name}"
    table, column, foreign_key = LOOKUP_COLUMNS[dimension]
    alias = f"{table}_of_{foreign_key.replace('.', '_')}"
    return f"{alias}.{column}", f"JOIN {table} AS {alias} ON {alias}.id = {foreign_key}"


class DimensionColumns(NamedTuple):
    """The columns of dimensions, what is to be joined for them, and that what not everything has is there."""

    columns: list[str]
    joins: str
    condition: str

    @property
    def select_list(self) -> str:
        """The columns to be selected, as d0, d1, …, each with a comma."""
        return "".join(f"{column} AS d{index}, " for index, column in enumerate(self.columns))

    @property
    def group_list(self) -> str:
        """The columns to group by, each with a comma."""
        return "".join(f"{column}, " for column in self.columns)


def dimension_columns(filter_sql: FilterSql, dimensions: Sequence[str]) -> DimensionColumns:
    """The columns of these dimensions."""
    columns, joins, condition = [], dict[str, None](), "1"
    for dimension in dimensions:
        column, join = _column_and_join(filter_sql, dimension)
        columns.append(column)
        joins[join] = None
        if dimension in OPTIONAL_DIMENSIONS:
            condition += f" AND {column} <> ''"
        elif dimension.startswith(PROPS_PREFIX):
            condition += f" AND {column} IS NOT NULL"
    return DimensionColumns(columns, " ".join(joins), condition)


def events_sql(
    filter_sql: FilterSql,
    site: Site,
    date_range: DateRange,
    condition: str,
    filters: Sequence[Filter],
    joins: str = "",
    dimensions: Sequence[str] = (),
    event_type_condition: str = "",
) -> str:
    """The events of a period that are `which` and pass filters: what follows FROM, up to the last condition.

    `kinds` is a condition on `event_types` (SQL) that all of them meet, so that other visits need no look.
    """
    site_param = filter_sql.bind(site.id)
    days_sql = days_table(filter_sql, site, date_range, dimensions)
    bloom_condition = filter_sql.bloom_condition(filters, event_type_condition)
    # A plus keeps SQLite from looking through all that a day has in place of what belongs to the other table's row.
    if needs_visit(filters) or not has_sessionless_events(filter_sql.conn, site, date_range):
        tables = f"visits AS v CROSS JOIN events AS e ON e.site_id = {site_param} AND e.visit_id = +v.id"
        id_range = f"v.site_id = {site_param} AND v.id >= low AND v.id < high"
    else:
        tables = f"events AS e LEFT JOIN visits AS v ON v.site_id = {site_param} AND v.id = +e.visit_id"
        id_range = f"e.site_id = {site_param} AND e.visit_id >= low AND e.visit_id < high"
    return f"""
        {days_sql} CROSS JOIN {tables} {joins}
        WHERE {id_range} AND e.visit_id + e.id_offset >= since AND e.visit_id + e.id_offset < until
            AND {condition} AND {bloom_condition} AND {filter_sql.all_of(filters)}
    """


def has_sessionless_events(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> bool:
    """Whether a period may have events that are in no visit."""
    params = (site.id, date_range.first_day, date_range.last_day)
    query = "SELECT 1 FROM dirty_days WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " UNION ALL SELECT 1 FROM daily_totals WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " AND sessionless_events > 0 LIMIT 1"
    return conn.execute(query, (*params, *params)).fetchone() is not None


def group_key(values: Sequence[Any], dimensions: Sequence[str]) -> tuple[str, ...]:
    """What stands in the dimensions of a row, as answers have it."""
    return tuple(_format_value(value, dimension) for value, dimension in zip(values, dimensions, strict=True))


def _format_value(value: Any, dimension: str) -> str:
    if dimension in CLOCK_UNITS_MS:
        return format_time_bucket(dimension, datetime.fromtimestamp(value * CLOCK_UNITS_MS[dimension] // 1000, UTC))
    return format_day_bucket(value, dimension.removeprefix("time:")) if dimension in TIME_DIMENSIONS else str(value)
