"""The FROM clause of queries: days, the events that pass the filters, and the columns of the dimensions."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.stats.date_ranges import CLOCK_UNITS_MS, DateRange, dst_segments, format_day_bucket, format_time_bucket
from ovx_lite.stats.filters import PROPS_PREFIX, TIME_DIMENSIONS, Filter
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import IS_ENGAGEMENT, ids_of_day
from ovx_lite.storage.read.filter_sql import LOOKUP_COLUMNS, PROP_VALUE, FilterSql, needs_visit

OPTIONAL_DIMENSIONS = {
    *("event:page", "event:hostname", "event:currency", "visit:entry_page", "visit:exit_page", "visit:referrer"),
    *("visit:utm_source", "visit:utm_medium", "visit:utm_campaign", "visit:utm_content", "visit:utm_term"),
}
"""Dimensions in which events without a value are in no group. In the other dimensions, they are in the group `""`."""

DAY_UNITS = {
    "time:day": "{0}",
    "time:week": "{0} - ({0} + 3) % 7",
    "time:month": "CAST(strftime('%s', {0} * 86400, 'unixepoch', 'start of month') AS INTEGER) / 86400",
}
"""SQL for the first day of the day, week or month that contains a day."""

IS_COUNTED = f"e.event_type_id NOT IN (SELECT id FROM event_types WHERE excluded_reason <> '' OR {IS_ENGAGEMENT})"
IS_COUNTED_ENGAGEMENT = (
    f"e.event_type_id IN (SELECT id FROM event_types WHERE excluded_reason = '' AND {IS_ENGAGEMENT})"
)
IS_PAGEVIEW = "e.event_type_id IN (SELECT id FROM event_types WHERE type = 'pageview')"
# LIMIT -1 keeps SQLite from flattening the subquery, which would decode the JSON again for every visit or event.
_DAYS_FROM_JSON = """
(SELECT value ->> 0 AS day, value ->> 1 AS first_visit_id, value ->> 2 AS end_visit_id,
    value ->> 3 AS first_id, value ->> 4 AS end_id, value ->> 5 AS utc_offset_ms FROM json_each({}) LIMIT -1
) AS date_range
"""


def days_table(filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str] = ()) -> str:
    """Return SQL for a table of the days of a date range that have events.

    Its columns are the day, the IDs that visits of the day can have (`first_visit_id` to before `end_visit_id`), those
    of events in the date range (`first_id` to before `end_id`), and `utc_offset_ms`, the milliseconds ahead of UTC.
    With a dimension of hours or minutes, days on which the clocks change are split there. Otherwise the offset is 0.
    """
    stored_days = events.days(filter_sql.conn, site, date_range.since_ms, date_range.until_ms)
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
    """Return the SQL of a dimension's value, and the join that it needs or `""`."""
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
    """The columns of dimensions, their joins, and the condition that excludes events without a value."""

    columns: list[str]
    joins: str
    condition: str

    @property
    def select_list(self) -> str:
        """The columns for SELECT, named d0, d1, …, with a comma after each."""
        return "".join(f"{column} AS d{index}, " for index, column in enumerate(self.columns))

    @property
    def group_list(self) -> str:
        """The columns for GROUP BY, with a comma after each."""
        return "".join(f"{column}, " for column in self.columns)


def dimension_columns(filter_sql: FilterSql, dimensions: Sequence[str]) -> DimensionColumns:
    """Return the columns of dimensions."""
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
    """Return SQL for the events of a date range that pass `condition` and the filters: all that follows FROM.

    The caller may append further conditions with AND. The SQL `event_type_condition`, if there is one, restricts the
    event types that can match, so that visits without them are skipped.
    """
    site_param = filter_sql.bind(site.id)
    days_sql = days_table(filter_sql, site, date_range, dimensions)
    bloom_condition = filter_sql.bloom_condition(filters, event_type_condition)
    # The plus keeps SQLite from joining on the range of the day, in place of the ID of the other table's row.
    if needs_visit(filters) or not has_sessionless_events(filter_sql.conn, site, date_range):
        tables = f"visits AS v CROSS JOIN events AS e ON e.site_id = {site_param} AND e.visit_id = +v.id"
        id_range = f"v.site_id = {site_param} AND v.id >= first_visit_id AND v.id < end_visit_id"
    else:
        tables = f"events AS e LEFT JOIN visits AS v ON v.site_id = {site_param} AND v.id = +e.visit_id"
        id_range = f"e.site_id = {site_param} AND e.visit_id >= first_visit_id AND e.visit_id < end_visit_id"
    return f"""
        {days_sql} CROSS JOIN {tables} {joins}
        WHERE {id_range} AND e.visit_id + e.id_offset >= first_id AND e.visit_id + e.id_offset < end_id
            AND {condition} AND {bloom_condition} AND {filter_sql.all_of(filters)}
    """


def has_sessionless_events(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> bool:
    """Return whether a date range may have events that are in no visit. Dirty days may."""
    params = (site.id, date_range.first_day, date_range.last_day)
    query = "SELECT 1 FROM dirty_days WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " UNION ALL SELECT 1 FROM daily_totals WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " AND sessionless_events > 0 LIMIT 1"
    return conn.execute(query, (*params, *params)).fetchone() is not None


def group_key(values: Sequence[Any], dimensions: Sequence[str]) -> tuple[str, ...]:
    """Return the values of a row's dimensions in the format of responses."""
    return tuple(_format_value(value, dimension) for value, dimension in zip(values, dimensions, strict=True))


def _format_value(value: Any, dimension: str) -> str:
    if dimension in CLOCK_UNITS_MS:
        return format_time_bucket(dimension, datetime.fromtimestamp(value * CLOCK_UNITS_MS[dimension] // 1000, UTC))
    return format_day_bucket(value, dimension.removeprefix("time:")) if dimension in TIME_DIMENSIONS else str(value)
