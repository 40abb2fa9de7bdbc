"""All panels of a filtered dashboard in one scan of the visits.

SQLite sorts rows to group them, which takes longer than finding them. So SQLite only concatenates the values of a day's
visits into one row, whatever their number, and Python counts the values, which is fast with dicts.
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
from ovx_lite.storage.read import event_queries, events, rollup_queries
from ovx_lite.storage.read.events import IS_ENGAGEMENT, ids_of_day
from ovx_lite.storage.read.filter_sql import (
    LOOKUP_COLUMNS,
    FilterSql,
    are_about_pages,
    are_about_visits,
    needs_visit,
)
from ovx_lite.storage.read.from_clause import IS_COUNTED, has_sessionless_events
from ovx_lite.storage.read.scan_aggregate import (
    DAY_ROW_DECODER,
    SCANNED_EVENT_DIMENSIONS,
    DayRow,
    EventValues,
    RevenueTotals,
    ScanAggregate,
    TopLists,
    visit_column,
)
from ovx_lite.storage.read.visitor_totals import VisitorTotals

DIMENSIONS = (*(dimension for dimension in LOOKUP_COLUMNS if dimension.startswith("visit:")), *SCANNED_EVENT_DIMENSIONS)
"""The dimensions that `scan` supports."""

_EVENTS_PER_PART = 50_000
"""The number of events that one row covers, roughly. A day with more is split into parts, each with other visitors."""

_EVENTS_PER_BATCH, _MANY_VALUES = 200_000, 20_000
"""The number of events that are counted at once. If they have many values, which need more memory, it is one row."""


class ScanResult(NamedTuple):
    """The counts of each day, the top values by dimension, and the revenue by currency.

    `top` has pairs of a value and its visitors, and the number of all values. `revenue` has transactions and the amount
    in minor units.
    """

    days: dict[int, Counts]
    top: dict[str, tuple[list[tuple[str, int]], int]]
    revenue: dict[str, tuple[int, int]]


# The events of a visit as tokens: the page's ID for a pageview, else the IDs of event type and page with a dot between.
# Most events are counted pageviews, so this is checked first: no other look-up of the event's type is then needed.
_VISIT_TOKENS = """
(SELECT group_concat(CASE WHEN e.event_type_id {is_counted_pageview} THEN page_id
        WHEN {is_counted} THEN event_type_id || '.' || page_id END)
    FROM events AS e WHERE e.site_id = v.site_id AND e.visit_id = v.id AND {condition})
"""
# A visit with one or two pageviews and no other events has its pages in its own row: its events need not be read.
_SHORT_VISIT_TOKENS = """
CASE WHEN entry_page_id IS NULL OR pageviews <> events OR events > 2 THEN {tokens}
    WHEN events = 2 AND {exit_condition}
        THEN CASE WHEN {entry_condition} THEN entry_page_id || ',' || exit_page_id ELSE exit_page_id END
    WHEN {entry_condition} THEN entry_page_id END
"""
_REVENUE_ITEMS = """
(SELECT group_concat(event_type_id || ' ' || amount_minor)
    FROM event_revenue AS revenue CROSS JOIN events AS e
        ON e.site_id = revenue.site_id AND e.visit_id = revenue.visit_id AND e.id_offset = revenue.id_offset
    WHERE revenue.site_id = v.site_id AND revenue.visit_id = v.id AND {is_counted} AND {condition})
"""
# MATERIALIZED and LIMIT -1 keep SQLite from flattening the subqueries: it would decode the JSON of the parts again for
# every visit (twice the time), and read the events of a visit once for each use of its tokens.
_SCAN = """
WITH day_parts AS MATERIALIZED (
    SELECT value ->> 0 AS day, value ->> 1 AS first_visit_id, value ->> 2 AS end_visit_id,
        value ->> 3 AS part_count, value ->> 4 AS part
    FROM json_each({day_parts})
)
SELECT day, (
    SELECT json_array(count(*),
        sum(is_only_visit_of_day) + count(DISTINCT visitor_id) FILTER (WHERE NOT is_only_visit_of_day),
        sum(pageviews), sum(events), sum(events = 1), sum(early_ms + elapsed_ms),
        json_array({ids_of_single_visits}), group_concat(tokens, ';') FILTER (WHERE is_only_visit_of_day),
        group_concat(day || ' ' || visitor_id) FILTER (WHERE NOT is_only_visit_of_day),
        json_array({ids_of_repeat_visits}),
        group_concat(coalesce(tokens, ''), ';') FILTER (WHERE NOT is_only_visit_of_day),
        group_concat(revenue_items))
    FROM (
        SELECT is_only_visit_of_day, visitor_id, pageviews, events, early_ms, elapsed_ms, {columns}, {tokens} AS tokens,
            {revenue_items} AS revenue_items
        FROM visits AS v
        WHERE v.site_id = {site_id} AND v.id >= first_visit_id AND v.id < end_visit_id AND {is_candidate}
            AND (part_count = 1 OR abs(v.visitor_id % part_count) = part) LIMIT -1
    ) WHERE {has_match}
) FROM day_parts
"""


def scan(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    dimensions: Collection[str] = (),
    limit: int = 0,
) -> ScanResult | None:
    """Return the counts of a date range, up to `limit` top values per dimension, and the revenue. Raises `ApiError`.

    None if a scan of visits is not enough: for a range with partial days, and if events without a visit may pass the
    filters.
    """
    if not date_range.whole_days or (not needs_visit(filters) and has_sessionless_events(conn, site, date_range)):
        return None
    by_events = not are_about_visits(filters)
    filter_sql = FilterSql(conn, site.id)
    columns = sorted(
        {visit_column(dimension) for dimension in dimensions if dimension not in SCANNED_EVENT_DIMENSIONS}
    ) or ["traffic_source_id"]
    with_events = any(dimension in SCANNED_EVENT_DIMENSIONS for dimension in dimensions)
    sql = _scan_sql(filter_sql, site, date_range, filters, columns, by_events=by_events, with_events=with_events)
    days, aggregate, revenue = dict[int, Counts](), ScanAggregate(columns), RevenueTotals(conn)
    event_values = EventValues(conn, site, "event:goal" in dimensions)
    batch_size = _EVENTS_PER_PART
    with closing(VisitorTotals(dimensions)) as totals:
        for day, encoded in conn.execute(sql, filter_sql.values):
            day_row = DAY_ROW_DECODER.decode(encoded)
            if day_row.visits:
                counts = _counts(day_row, by_events)
                days[day] = days[day].plus(counts) if day in days else counts
                aggregate.add(day_row, counts.events)
            if aggregate.event_count >= batch_size:
                value_count = totals.add(TopLists(conn, aggregate, event_values).count_visitors(dimensions))
                revenue.add(aggregate.revenue_items)
                aggregate, batch_size = ScanAggregate(columns), 1 if value_count > _MANY_VALUES else _EVENTS_PER_BATCH
                if len(event_values.ids_by_token) > _MANY_VALUES:
                    event_values = EventValues(conn, site, "event:goal" in dimensions)
        totals.add(TopLists(conn, aggregate, event_values).count_visitors(dimensions))
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
    """Yield the parts of the days that have events: day, first visit ID, end of visit IDs, number of parts, part."""
    day_counts = (
        rollup_queries.day_counts(conn, site, date_range)
        if rollup_queries.is_complete(conn, site, date_range)
        else None
    )
    for day in events.days(conn, site, date_range.since_ms, date_range.until_ms):
        first_id, end_id = ids_of_day(day, site.timezone)
        if day_counts is None:
            query = "SELECT count(*) FROM (SELECT 1 FROM events WHERE site_id = ? AND visit_id >= ? AND visit_id < ?)"
            (event_count,) = conn.execute(query, (site.id, first_id, end_id)).fetchone()
        else:
            event_count = day_counts[day].events if day in day_counts else 0
        part_count = 1 + event_count // _EVENTS_PER_PART
        yield from ((day, first_id, end_id, part_count, part) for part in range(part_count))


def _counts(day: DayRow, by_events: bool) -> Counts:
    pageview_count, event_count = day.pageviews or 0, day.events or 0
    if by_events:
        texts = [text for text in (day.tokens, day.repeat_tokens) if text]
        event_count = sum(text.count(",") + text.count(";") + 1 for text in texts)
        pageview_count = event_count - sum(text.count(".") for text in texts)
    return Counts(
        visitors=day.visitors or 0,
        visits=day.visits,
        pageviews=pageview_count,
        events=event_count,
        bounces=day.bounces or 0,
        duration_ms=day.duration_ms or 0,
    )


def _scan_sql(
    filter_sql: FilterSql,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    columns: Sequence[str],
    *,
    by_events: bool,
    with_events: bool,
) -> str:
    """Return the SQL of a scan.

    `by_events` says that the filters depend on events, `with_events` that the dimensions do.
    """
    condition = filter_sql.all_of(filters)
    placeholders = {
        "is_counted_pageview": _counted_pageviews(filter_sql),
        "is_counted": IS_COUNTED,
        "condition": condition if by_events else "1",
    }
    tokens = _VISIT_TOKENS.format(**placeholders) if by_events or with_events else "NULL"
    if are_about_pages(filters) and tokens != "NULL":
        tokens = _SHORT_VISIT_TOKENS.format(
            tokens=tokens,
            entry_condition=filter_sql.all_of(filters, "v.entry_page_id") if by_events else "1",
            exit_condition=filter_sql.all_of(filters, "v.exit_page_id") if by_events else "1",
        )
    has_revenue = filter_sql.conn.execute(
        "SELECT 1 FROM daily_revenue WHERE site_id = ? LIMIT 1", (site.id,)
    ).fetchone()
    revenue_condition = filter_sql.bloom_condition((), "currency <> ''")
    return _SCAN.format(
        ids_of_single_visits=", ".join(
            f"json_group_array({column}) FILTER (WHERE is_only_visit_of_day)" for column in columns
        ),
        ids_of_repeat_visits=", ".join(
            f"json_group_array({column}) FILTER (WHERE NOT is_only_visit_of_day)" for column in columns
        ),
        columns=", ".join(columns),
        tokens=tokens,
        revenue_items=f"CASE WHEN {revenue_condition} THEN {_REVENUE_ITEMS.format(**placeholders)} END"
        if has_revenue
        else "NULL",
        site_id=filter_sql.bind(site.id),
        is_candidate=filter_sql.bloom_condition(filters) if by_events else condition,
        has_match="tokens IS NOT NULL" if by_events else "1",
        day_parts=filter_sql.bind(msgspec.json.encode(list(_day_parts(filter_sql.conn, site, date_range))).decode()),
    )


def _counted_pageviews(filter_sql: FilterSql) -> str:
    """Return the SQL `IN (…)` for the types of the pageviews that are counted."""
    query = f"SELECT id FROM event_types WHERE type = 'pageview' AND excluded_reason = '' AND NOT {IS_ENGAGEMENT}"
    return filter_sql.in_ids(id for (id,) in filter_sql.conn.execute(query))
