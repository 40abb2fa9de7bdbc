"""The whole dashboard of what passes filters, in one look at the visits.

SQLite sorts in order to group, which takes longer than to find the rows. So it writes what a day's visits have one
after the other, and Python counts it, which is quick with dicts: a day is a row, whatever the number of its visits.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read import event_queries, rollup_queries
from ovx_lite.storage.read import events as events_of
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.read.filter_sql import LOOKUP_COLUMNS, FilterSql, are_about_visits, needs_visit
from ovx_lite.storage.read.from_clause import IS_COUNTED, IS_PAGEVIEW, has_sessionless_events
from ovx_lite.storage.read.scan_aggregate import (
    DAY_ROW_DECODER,
    SCANNED_EVENT_DIMENSIONS,
    DayRow,
    RevenueTotals,
    ScanAggregate,
    TopLists,
    visit_column,
)
from ovx_lite.storage.read.visitor_totals import VisitorTotals

DIMENSIONS = (*(dimension for dimension in LOOKUP_COLUMNS if dimension.startswith("visit:")), *SCANNED_EVENT_DIMENSIONS)
"""What can be counted by here."""

_EVENTS_PER_PART = 50_000
"""Events that are read in one go. A day that has more is cut into parts, a part of its visitors each."""

_EVENTS_PER_BATCH, _MANY_VALUES = 200_000, 20_000
"""Events that are counted in one go, unless they have many different values, of which each takes more memory."""


class ScanResult(NamedTuple):
    """What passes filters: the counts of each day, what most visitors have in each dimension, revenue by currency.

    `top` has the values that most visitors have, and how many values there are. Revenue is how often, and how much in
    minor units.
    """

    days: dict[int, Counts]
    top: dict[str, tuple[list[tuple[str, int]], int]]
    revenue: dict[str, tuple[int, int]]


# What each of a visit's events is: the page's number, and before it, with a dot, the kind's, unless it is a view of it.
_VISIT_TOKENS = """
(SELECT group_concat(CASE WHEN {view} THEN page_id ELSE event_type_id || '.' || page_id END) FROM events AS e
    WHERE e.site_id = v.site_id AND e.visit_id = v.id AND {counted} AND {condition})
"""
# Of visits that viewed a page or two and did nothing else, that stands in the visit.
_SHORT_VISIT_TOKENS = """
CASE WHEN entry_page_id IS NULL OR pageviews <> events OR events > 2 THEN {tokens}
    WHEN events = 1 THEN entry_page_id ELSE entry_page_id || ',' || exit_page_id END
"""
_REVENUE_ITEMS = """
(SELECT group_concat(event_type_id || ' ' || revenue_minor) FROM events AS e
    WHERE e.site_id = v.site_id AND e.visit_id = v.id AND revenue_minor IS NOT NULL AND {counted} AND {condition})
"""
# The limit keeps SQLite from looking for the events twice.
_SCAN = """
SELECT day, (
    SELECT json_array(count(*),
        sum(is_only_visit_of_day) + count(DISTINCT CASE WHEN is_only_visit_of_day THEN NULL ELSE visitor_id END),
        sum(pageviews), sum(events), sum(events = 1), sum(early_ms + elapsed_ms),
        json_array({codes_alone}), group_concat(CASE WHEN is_only_visit_of_day THEN tokens END, ';'),
        group_concat(CASE WHEN NOT is_only_visit_of_day THEN day || ' ' || visitor_id END),
        json_array({codes_of_others}),
        group_concat(CASE WHEN NOT is_only_visit_of_day THEN coalesce(tokens, '') END, ';'),
        group_concat(revenue_rows))
    FROM (
        SELECT is_only_visit_of_day, visitor_id, pageviews, events, early_ms, elapsed_ms, {codes}, {tokens} AS tokens,
            {revenue_rows} AS revenue_rows
        FROM visits AS v
        WHERE v.site_id = {site} AND v.id >= low AND v.id < high AND abs(v.visitor_id % parts) = part
            AND {candidates} LIMIT -1
    ) WHERE {matches}
) FROM (
    SELECT value ->> 0 AS day, value ->> 1 AS low, value ->> 2 AS high, value ->> 3 AS parts, value ->> 4 AS part
    FROM json_each({days})
)
"""


def scan(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    dimensions: Collection[str] = (),
    limit: int = 0,
) -> ScanResult | None:
    """Count a period by days, by each of these dimensions, and what it took. Raises `ApiError`.

    Of each dimension, `most` values are told. None if that cannot be told by visits alone: of times within days, or if
    events that are in no visit may pass.
    """
    if not date_range.whole_days or (not needs_visit(filters) and has_sessionless_events(conn, site, date_range)):
        return None
    by_events = not are_about_visits(filters)
    filter_sql = FilterSql(conn, site.id)
    columns = sorted(
        {visit_column(dimension) for dimension in dimensions if dimension not in SCANNED_EVENT_DIMENSIONS}
    ) or ["traffic_source_id"]
    sql = _sql(
        filter_sql,
        site,
        date_range,
        filters,
        columns,
        by_events,
        any(dimension in SCANNED_EVENT_DIMENSIONS for dimension in dimensions),
    )
    days, aggregate, revenue = dict[int, Counts](), ScanAggregate(columns), RevenueTotals(conn)
    batch_size = _EVENTS_PER_PART
    with closing(VisitorTotals(dimensions)) as totals:
        for day, encoded in conn.execute(sql, filter_sql.values):
            day_row = DAY_ROW_DECODER.decode(encoded)
            if day_row.visits:
                days[day] = days.get(day, Counts()).plus(_counts(day_row, by_events))
                aggregate.add(day_row)
            if aggregate.event_count >= batch_size:
                value_count = totals.add(TopLists(conn, site, aggregate).count_visitors(dimensions))
                revenue.add(aggregate.revenue_items)
                aggregate, batch_size = ScanAggregate(columns), 1 if value_count > _MANY_VALUES else _EVENTS_PER_BATCH
        totals.add(TopLists(conn, site, aggregate).count_visitors(dimensions))
        revenue.add(aggregate.revenue_items)
        return ScanResult(
            days, {dimension: _top(totals, dimension, limit) for dimension in dimensions}, revenue.ranked()
        )


def _top(totals: VisitorTotals, dimension: str, limit: int) -> tuple[list[tuple[str, int]], int]:
    rows = (((value,), Counts(visitors)) for value, visitors in totals.rows(dimension))
    top_rows, total = event_queries.top(
        (row for row in rows if (dimension, *row[0]) != event_queries.PAGEVIEW), "visitors", limit
    )
    return [(value, counts.visitors) for (value,), counts in top_rows], total


def _day_parts(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> Iterator[tuple[int, int, int, int, int]]:
    """The days of a period that have events, in parts: day, first and last number, how many parts, which part."""
    day_counts = (
        rollup_queries.day_counts(conn, site, date_range)
        if rollup_queries.is_complete(conn, site, date_range)
        else None
    )
    for day in events_of.days(conn, site, date_range.since_ms, date_range.until_ms):
        first_id, end_id = ids_of_day(day, site.timezone)
        if day_counts is None:
            query = "SELECT count(*) FROM (SELECT 1 FROM events WHERE site_id = ? AND visit_id >= ? AND visit_id < ?)"
            (event_count,) = conn.execute(query, (site.id, first_id, end_id)).fetchone()
        else:
            event_count = day_counts[day].events if day in day_counts else 0
        parts = 1 + event_count // _EVENTS_PER_PART
        yield from ((day, first_id, end_id, parts, part) for part in range(parts))


def _counts(day: DayRow, by_events: bool) -> Counts:
    pageviews, events = day.pageviews or 0, day.events or 0
    if by_events:
        texts = [text for text in (day.tokens, day.repeat_tokens) if text]
        events = sum(text.count(",") + text.count(";") + 1 for text in texts)
        pageviews = events - sum(text.count(".") for text in texts)
    return Counts(day.visitors or 0, day.visits, pageviews, events, day.bounces or 0, day.duration_ms or 0)


def _sql(
    filter_sql: FilterSql,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    columns: Sequence[str],
    by_events: bool,
    with_events: bool,
) -> str:
    condition = filter_sql.all_of(filters)
    placeholders = {"view": IS_PAGEVIEW, "counted": IS_COUNTED, "condition": condition if by_events else "1"}
    tokens = _VISIT_TOKENS.format(**placeholders) if by_events or with_events else "NULL"
    has_revenue = filter_sql.conn.execute(
        "SELECT 1 FROM daily_revenue WHERE site_id = ? LIMIT 1", (site.id,)
    ).fetchone()
    revenue_condition = filter_sql.bloom_condition((), "currency <> ''")
    return _SCAN.format(
        codes_alone=", ".join(f"group_concat(CASE WHEN is_only_visit_of_day THEN {column} END)" for column in columns),
        codes_of_others=", ".join(
            f"group_concat(CASE WHEN NOT is_only_visit_of_day THEN coalesce({column}, '') END)" for column in columns
        ),
        codes=", ".join(columns),
        tokens=tokens if by_events or not with_events else _SHORT_VISIT_TOKENS.format(tokens=tokens),
        revenue_rows=f"CASE WHEN {revenue_condition} THEN {_REVENUE_ITEMS.format(**placeholders)} END"
        if has_revenue
        else "NULL",
        site=filter_sql.bind(site.id),
        candidates=filter_sql.bloom_condition(filters) if by_events else condition,
        matches="tokens IS NOT NULL" if by_events else "1",
        days=filter_sql.bind(msgspec.json.encode(list(_day_parts(filter_sql.conn, site, date_range))).decode()),
    )
