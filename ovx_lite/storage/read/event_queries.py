"""What the numbers are: a query → its rows, from the rollups where they know, else from visits and events.

Everything is counted over the events that pass the filters, in the groups that the dimensions make: visits and visitors
are those of these events; a visitor counts once a day; an event that is in no visit is in no group of a visit's
dimension. So says docs/dashboard.md, and `tests/test_recount.py` counts again.
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
from ovx_lite.storage.read.from_clause import IS_COUNTED, IS_PAGEVIEW, days_table, dimension_columns, events_sql
from ovx_lite.storage.read.from_clause import group_key as key_of
from ovx_lite.storage.read.rollup_queries import Rows
from ovx_lite.storage.webhooks.goals import goals_of

PAGEVIEW = ("event:name", "pageview")
"""They are no events of their own, where events are shown."""

Groups = dict[tuple[str, ...], Counts]
"""What is counted, by what stands in the dimensions."""


def groups(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
) -> Groups:
    """Count a period, by dimensions, of what passes filters: where there cannot be many groups. Raises `ApiError`.

    `needs` are the counts that are asked for: the others may be 0.
    """
    return dict(rows(conn, site, date_range, dimensions, filters, needs))


def rows(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
    exact: bool = False,
) -> Rows:
    """Count a period, by dimensions, of what passes filters, a group at a time, in no order. Raises `ApiError`.

    `needs` are the counts that are asked for: the others may be 0. If it is to be `exact`, there is no group for all
    further values of a dimension (`kept_values.OTHER`).
    """
    if "event:goal" in dimensions:
        return _by_goal(conn, site, date_range, dimensions, filters, needs)
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
    empty = not dimensions
    for row in conn.execute(sql, filter_sql.values):
        empty = False
        yield key_of(row[: len(dimensions)], dimensions), Counts(*row[len(dimensions) :])
    if empty:
        yield (), Counts()


def top(
    rows: Iterable[tuple[tuple[str, ...], Counts]], count_name: str, limit: int
) -> tuple[list[tuple[tuple[str, ...], Counts]], int]:
    """The groups that have most of a count, at most so many; and how many groups there are. Holds no more of them."""
    total = 0

    def counting() -> Rows:
        nonlocal total
        for row in rows:
            total += 1
            yield row

    index = Counts._fields.index(count_name)
    return heapq.nsmallest(limit, counting(), key=lambda row: (-row[1][index], row[0])), total


def _by_goal(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimensions: Sequence[str],
    filters: Sequence[Filter],
    needs: Collection[str],
) -> Rows:
    """Count by goal: each on its own, since an event may meet several."""
    position, other_dimensions = (
        dimensions.index("event:goal"),
        [dimension for dimension in dimensions if dimension != "event:goal"],
    )
    from_rollups = None if filters or other_dimensions else rollup_queries.goals(conn, site, date_range, needs)
    if from_rollups is not None:
        yield from from_rollups
        return
    for goal in goals_of(conn, site.id):
        groups_of_goal = rows(
            conn, site, date_range, other_dimensions, [*filters, Condition("event:goal", "is", (goal.name,))]
        )
        for key, counts in groups_of_goal:
            if counts.events:
                yield (*key[:position], goal.name, *key[position:]), counts


def _visits_sql(
    filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """The visits that pass filters, a row each for each group."""
    columns = dimension_columns(filter_sql, dimensions)
    return f"""
        SELECT {columns.select_list} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, v.events AS counted_events, v.pageviews AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {days_table(filter_sql, site, date_range)} CROSS JOIN visits AS v {columns.joins}
        WHERE v.site_id = {filter_sql.bind(site.id)} AND v.id >= low AND v.id < high AND {columns.condition}
            AND {filter_sql.all_of(filters)}
    """


def _events_sql(
    filter_sql: FilterSql, site: Site, date_range: DateRange, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """The visits of the events that pass filters, and these events; a row each for each group."""
    columns = dimension_columns(filter_sql, dimensions)
    return f"""
        SELECT {columns.select_list} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, count(*) AS counted_events, sum({IS_PAGEVIEW}) AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {events_sql(filter_sql, site, date_range, IS_COUNTED, filters, columns.joins, dimensions)} AND {columns.condition}
        GROUP BY {columns.group_list} e.visit_id
    """


def _group_sql(rows_sql: str, dimensions: Sequence[str]) -> str:
    """Count rows of visits by what stands in the dimensions."""
    keys = ", ".join(f"d{index}" for index in range(len(dimensions)))
    # A visitor's only visit of a day needs no comparing with others.
    sums = """
        sum(coalesce(is_only_visit_of_day, 0))
            + count(DISTINCT CASE WHEN is_only_visit_of_day THEN NULL ELSE visitor_id << 15 | day END),
        count(visit_id), sum(pageviews), sum(counted_events), sum(CASE WHEN visit_events = 1 THEN 1 ELSE 0 END),
        sum(coalesce(duration_ms, 0))
    """
    if not dimensions:
        return f"SELECT {sums} FROM ({rows_sql}) HAVING count(*) > 0"
    return f"SELECT {keys}, {sums} FROM ({rows_sql}) GROUP BY {keys}"
