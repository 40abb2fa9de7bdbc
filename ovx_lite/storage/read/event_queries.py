"""Counts of a date range, grouped by dimensions: from the rollups if they have them, else from visits and events.

All counts are of the events that pass the filters: visits and visitors are those of these events. A visitor counts once
per day. An event without a visit is in no group of a visit dimension. docs/dashboard.md describes this, and
`tests/test_recount.py` verifies it.
"""

import heapq
import sqlite3
from collections.abc import Collection, Iterable, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import TIME_DIMENSIONS, Condition, Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read import rollup_queries
from ovx_lite.storage.read.filter_sql import FilterSql, are_about_visits, needs_visit
from ovx_lite.storage.read.from_clause import (
    IS_COUNTED,
    IS_PAGEVIEW,
    days_table,
    dimension_columns,
    events_sql,
    group_key,
)
from ovx_lite.storage.read.rollup_queries import Rows
from ovx_lite.storage.webhooks.goals import goals_of

PAGEVIEW = ("event:name", "pageview")
"""The dimension and value of pageviews, which lists of event names leave out."""

Groups = dict[tuple[str, ...], Counts]
"""Counts by the values of the dimensions."""


def groups(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
) -> Groups:
    """Return the counts of a date range by dimensions, for queries with few groups. Raises `ApiError`.

    `needs` are the names of the counts that the caller uses. Others may be 0.
    """
    return dict(rows(conn, site, date_range, dimensions=dimensions, filters=filters, needs=needs))


def rows(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
    exact: bool = False,
) -> Rows:
    """Yield the counts of a date range by dimensions, one group at a time, in no particular order. Raises `ApiError`.

    `needs` are the names of the counts that the caller uses. Others may be 0. With `exact`, every value has a group of
    its own, and none is counted as `OTHER` (see `rollups.value_limit`).
    """
    if "event:goal" in dimensions:
        return _by_goal(conn, site, date_range, dimensions=dimensions, filters=filters, needs=needs)
    from_rollups = None
    if not filters and not (exact and rollup_queries.has_other(conn, site, date_range, dimensions)):
        from_rollups = rollup_queries.groups(conn, site, date_range, dimensions, needs)
    return _from_events(conn, site, date_range, dimensions, filters) if from_rollups is None else from_rollups


def _from_events(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimensions: Sequence[str], filters: Sequence[Filter]
) -> Rows:
    filter_sql = FilterSql(conn, site.id)
    by_visits = (
        date_range.whole_days
        and are_about_visits(filters)
        and all(dimension.startswith("visit:") or dimension in TIME_DIMENSIONS[2:] for dimension in dimensions)
        and (needs_visit(filters) or any(dimension.startswith("visit:") for dimension in dimensions))
    )
    build_sql = _visits_sql if by_visits else _events_sql
    sql = _group_sql(build_sql(filter_sql, site, date_range, dimensions, filters), dimensions)
    without_rows = not dimensions
    for row in conn.execute(sql, filter_sql.values):
        without_rows = False
        yield group_key(row[: len(dimensions)], dimensions), Counts(*row[len(dimensions) :])
    if without_rows:  # without dimensions, there is always one group
        yield (), Counts()


def top(
    rows: Iterable[tuple[tuple[str, ...], Counts]], count_name: str, limit: int
) -> tuple[list[tuple[tuple[str, ...], Counts]], int]:
    """Return the `limit` groups with the highest count of a name, and the number of all groups.

    It keeps only these groups in memory.
    """
    total = 0

    def counted_rows() -> Rows:
        nonlocal total
        for row in rows:
            total += 1
            yield row

    index = Counts._fields.index(count_name)
    return heapq.nsmallest(limit, counted_rows(), key=lambda row: (-row[1][index], row[0])), total


def top_groups(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter],
    count_names: Sequence[str],
    limit: int,
) -> tuple[list[tuple[tuple[str, ...], Counts]], int]:
    """Return the `limit` groups with the highest count of the first name, and the number of all groups.

    Only the counts in `count_names` are right. Pageviews are left out of event names. Raises `ApiError`.
    """
    groups_with_events = (
        (key, counts)
        for key, counts in rows(conn, site, date_range, dimensions, filters, needs=count_names)
        if (counts.visitors or counts.events) and (*dimensions, *key) != PAGEVIEW
    )
    return top(groups_with_events, count_names[0], limit)


def _by_goal(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter],
    needs: Collection[str],
) -> Rows:
    """Yield the counts by goal, with one query per goal, because an event may reach several goals."""
    position = dimensions.index("event:goal")
    other_dimensions = [dimension for dimension in dimensions if dimension != "event:goal"]
    from_rollups = None if filters or other_dimensions else rollup_queries.goals(conn, site, date_range, needs)
    if from_rollups is not None:
        yield from from_rollups
        return
    for goal in goals_of(conn, site.id):
        filters_with_goal = [*filters, Condition("event:goal", "is", (goal.name,))]
        groups_of_goal = rows(conn, site, date_range, dimensions=other_dimensions, filters=filters_with_goal)
        for key, counts in groups_of_goal:
            if counts.events:
                yield (*key[:position], goal.name, *key[position:]), counts


def _visits_sql(
    filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """Return SQL for the visits that pass the filters, with the values of the dimensions."""
    columns = dimension_columns(filter_sql, dimensions)
    return f"""
        SELECT {columns.select_list} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, v.events AS counted_events, v.pageviews AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {days_table(filter_sql, site, date_range)} CROSS JOIN visits AS v {columns.joins}
        WHERE v.site_id = {filter_sql.bind(site.id)} AND v.id >= first_visit_id AND v.id < end_visit_id
            AND {columns.condition} AND {filter_sql.all_of(filters)}
    """


def _events_sql(
    filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """Return SQL for the visits of the events that pass the filters: one row per visit and combination of values.

    An event without a visit is a row of its own.
    """
    columns = dimension_columns(filter_sql, dimensions)
    events_from = events_sql(
        filter_sql,
        site,
        date_range,
        condition=IS_COUNTED,
        filters=filters,
        joins=columns.joins,
        dimensions=dimensions,
    )
    return f"""
        SELECT {columns.select_list} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, count(*) AS counted_events, sum({IS_PAGEVIEW}) AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {events_from} AND {columns.condition}
        GROUP BY {columns.group_list} e.visit_id
    """


def _group_sql(rows_sql: str, dimensions: Sequence[str]) -> str:
    """Return SQL that counts rows of visits by the values of the dimensions."""
    keys = ", ".join(f"d{index}" for index in range(len(dimensions)))
    # A visitor's only visit of a day is one visitor. Visitors with more visits are distinct pairs of visitor and day.
    sums = """
        sum(coalesce(is_only_visit_of_day, 0))
            + count(DISTINCT CASE WHEN is_only_visit_of_day THEN NULL ELSE visitor_id << 15 | day END),
        count(visit_id), sum(pageviews), sum(counted_events), sum(CASE WHEN visit_events = 1 THEN 1 ELSE 0 END),
        sum(coalesce(duration_ms, 0))
    """
    if not dimensions:
        return f"SELECT {sums} FROM ({rows_sql}) HAVING count(*) > 0"
    return f"SELECT {keys}, {sums} FROM ({rows_sql}) GROUP BY {keys}"
