"""What is looked at for a query, as SQL: the days, the events that pass filters, and what stands in dimensions."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.stats.date_ranges import CLOCK, Period, label, pieces, told_by_clock
from ovx_lite.stats.filters import PROPS, TIMES, Filter
from ovx_lite.storage.read import events as events_of
from ovx_lite.storage.read.events import IS_ENGAGEMENT, ids_of_day
from ovx_lite.storage.read.filter_sql import COLUMNS, PROP, Matching, needs_visit

SOMETIMES = {
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

COUNTED = f"e.event_type_id NOT IN (SELECT id FROM event_types WHERE excluded_reason <> '' OR {IS_ENGAGEMENT})"
ENGAGEMENT = f"e.event_type_id IN (SELECT id FROM event_types WHERE excluded_reason = '' AND {IS_ENGAGEMENT})"
VIEW = "e.event_type_id IN (SELECT id FROM event_types WHERE type = 'pageview')"
_SPAN = """
(SELECT value ->> 0 AS day, value ->> 1 AS low, value ->> 2 AS high, value ->> 3 AS since, value ->> 4 AS until,
    value ->> 5 AS utc_offset_ms FROM json_each({})) AS date_range
"""


def days(matching: Matching, site: Site, period: Period, dimensions: Sequence[str] = ()) -> str:
    """The days of a period that have events, as a table: their visits' numbers, and those of the events that count.

    Where one asks for hours or minutes, days on which the clocks change are cut there, and `utc_offset_ms` is ms before
    UTC.
    """
    known = events_of.days(matching.conn, site, period.since, period.until)
    rows = []
    if any(word in CLOCK for word in dimensions):
        for day, since, until, ahead in pieces(period, site.timezone):
            if day in known:
                rows.append((day, *ids_of_day(day, site.timezone), since << COUNTER_BITS, until << COUNTER_BITS, ahead))
    else:
        cut = (period.since << COUNTER_BITS, period.until << COUNTER_BITS, 0)
        rows = [(day, *ids_of_day(day, site.timezone), *cut) for day in known]
    return _SPAN.format(matching.bind(msgspec.json.encode(rows).decode()))


def _column(matching: Matching, dimension: str) -> tuple[str, str]:
    """What stands in a dimension, as SQL, and what is to be joined for it."""
    if dimension in CLOCK:
        return f"((e.visit_id + e.id_offset >> {COUNTER_BITS}) + utc_offset_ms) / {CLOCK[dimension]}", ""
    if dimension in TIMES:
        return DAY_UNITS[dimension].format("day"), ""
    if dimension.startswith(PROPS):
        name = matching.bind(dimension.removeprefix(PROPS))
        alias = f"prop_{name.removeprefix(':')}"
        return PROP.format(alias), f"JOIN json_each(e.props) AS {alias} ON {alias}.key = {name}"
    table, column, code = COLUMNS[dimension]
    alias = f"{table}_of_{code.replace('.', '_')}"
    return f"{alias}.{column}", f"JOIN {table} AS {alias} ON {alias}.id = {code}"


class Columns(NamedTuple):
    """The columns of dimensions, what is to be joined for them, and that what not everything has is there."""

    columns: list[str]
    joins: str
    there: str

    @property
    def named(self) -> str:
        """The columns to be selected, as d0, d1, …, each with a comma."""
        return "".join(f"{column} AS d{number}, " for number, column in enumerate(self.columns))

    @property
    def keys(self) -> str:
        """The columns to group by, each with a comma."""
        return "".join(f"{column}, " for column in self.columns)


def columns_of(matching: Matching, dimensions: Sequence[str]) -> Columns:
    """The columns of these dimensions."""
    columns, joins, there = [], dict[str, None](), "1"
    for dimension in dimensions:
        column, join = _column(matching, dimension)
        columns.append(column)
        joins[join] = None
        if dimension in SOMETIMES:
            there += f" AND {column} <> ''"
        elif dimension.startswith(PROPS):
            there += f" AND {column} IS NOT NULL"
    return Columns(columns, " ".join(joins), there)


def events(
    matching: Matching,
    site: Site,
    period: Period,
    which: str,
    filters: Sequence[Filter],
    joins: str = "",
    dimensions: Sequence[str] = (),
    kinds: str = "",
) -> str:
    """The events of a period that are `which` and pass filters: what follows FROM, up to the last condition.

    `kinds` is a condition on `event_types` (SQL) that all of them meet, so that other visits need no look.
    """
    number = matching.bind(site.number)
    span = days(matching, site, period, dimensions)
    seen = matching.seen(filters, kinds)
    # A plus keeps SQLite from looking through all that a day has in place of what belongs to the other table's row.
    if needs_visit(filters) or not has_strays(matching.conn, site, period):
        tables = f"visits AS v CROSS JOIN events AS e ON e.site_id = {number} AND e.visit_id = +v.id"
        low_to_high = f"v.site_id = {number} AND v.id >= low AND v.id < high"
    else:
        tables = f"events AS e LEFT JOIN visits AS v ON v.site_id = {number} AND v.id = +e.visit_id"
        low_to_high = f"e.site_id = {number} AND e.visit_id >= low AND e.visit_id < high"
    return f"""
        {span} CROSS JOIN {tables} {joins}
        WHERE {low_to_high} AND e.visit_id + e.id_offset >= since AND e.visit_id + e.id_offset < until
            AND {which} AND {seen} AND {matching.all(filters)}
    """


def has_strays(conn: sqlite3.Connection, site: Site, period: Period) -> bool:
    """Whether a period may have events that are in no visit."""
    days = (site.number, period.first, period.last)
    query = "SELECT 1 FROM dirty_days WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " UNION ALL SELECT 1 FROM daily_totals WHERE site_id = ? AND day >= ? AND day <= ?"
    query += " AND sessionless_events > 0 LIMIT 1"
    return conn.execute(query, (*days, *days)).fetchone() is not None


def key(told: Sequence[Any], dimensions: Sequence[str]) -> tuple[str, ...]:
    """What stands in the dimensions of a row, as answers have it."""
    return tuple(_said(value, word) for value, word in zip(told, dimensions, strict=True))


def _said(value: Any, dimension: str) -> str:
    if dimension in CLOCK:
        return told_by_clock(dimension, datetime.fromtimestamp(value * CLOCK[dimension] // 1000, UTC))
    return label(value, dimension.removeprefix("time:")) if dimension in TIMES else str(value)
