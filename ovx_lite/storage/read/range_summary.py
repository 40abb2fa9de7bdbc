"""The summary of a date range: from rollups if possible, else from events. Filters always need the events."""

import sqlite3
from collections.abc import Mapping, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange, format_day_bucket
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.stats.summary import RangeSummary, TopList
from ovx_lite.storage.read import event_queries, filtered_scan, revenue, rollup_queries

Revenue = Mapping[str, tuple[int, int]]
"""The number of transactions and their sum in minor units, by currency."""


def load(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    time_dimension: str,
    top_dimensions: Sequence[str],
    limit: int,
) -> RangeSummary:
    """Return the summary of a date range, with up to `limit` values in each top list. Raises `ApiError`."""
    is_complete = rollup_queries.is_complete(conn, site, date_range)
    if is_complete and not filters:
        top_lists = {
            dimension: _top_list_from_rollups(conn, site, date_range, dimension, limit) for dimension in top_dimensions
        }
        counts_by_day: dict[int, Counts] | None = rollup_queries.day_counts(conn, site, date_range)
        revenue_by_currency = None
    else:
        top_lists, counts_by_day, revenue_by_currency = _scan(conn, site, date_range, filters, top_dimensions, limit)
    if revenue_by_currency is None:
        revenue_by_currency = revenue.by_currency(conn, site, date_range, filters)
    return RangeSummary(
        totals=_totals(conn, site, date_range, filters, counts_by_day),
        series=_series(conn, site, date_range, filters, time_dimension, counts_by_day),
        top_lists=top_lists,
        revenue=revenue_by_currency,
        is_stale=date_range.whole_days and not is_complete,
    )


def _scan(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    top_dimensions: Sequence[str],
    limit: int,
) -> tuple[dict[str, TopList], dict[int, Counts] | None, Revenue | None]:
    """Return the top lists, and the counts of each day and the revenue if the same scan has them, else None."""
    scanned_dimensions = [dimension for dimension in top_dimensions if dimension in filtered_scan.DIMENSIONS]
    scan = filtered_scan.scan(conn, site, date_range, filters, scanned_dimensions, limit) if filters else None
    top_lists = {
        dimension: TopList(*scan.top[dimension])
        if scan is not None and dimension in scan.top
        else _top_list(conn, site, date_range, filters, dimension, limit)
        for dimension in top_dimensions
    }
    return (top_lists, None, None) if scan is None else (top_lists, scan.days, scan.revenue)


def _top_list(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    dimension: str,
    limit: int,
) -> TopList:
    rows, total = event_queries.top_groups(conn, site, date_range, (dimension,), filters, ("visitors",), limit)
    return TopList([(value, counts.visitors) for (value,), counts in rows], total)


def _top_list_from_rollups(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimension: str, limit: int
) -> TopList:
    if dimension in ("event:goal", "event:name", "visit:exit_page"):
        return _top_list(conn, site, date_range, (), dimension, limit)
    return TopList(*rollup_queries.top(conn, site, date_range, rollup_queries.DIMENSIONS[dimension], limit))


def _series(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    time_dimension: str,
    counts_by_day: Mapping[int, Counts] | None,
) -> dict[str, Counts]:
    if counts_by_day is None or time_dimension == "time:hour":
        groups = event_queries.groups(conn, site, date_range, (time_dimension,), filters)
        return {key: counts for (key,), counts in groups.items()}
    series: dict[str, Counts] = {}
    for day, counts in counts_by_day.items():
        key = format_day_bucket(day, time_dimension.removeprefix("time:"))
        series[key] = series[key].plus(counts) if key in series else counts
    return series


def _totals(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    counts_by_day: Mapping[int, Counts] | None,
) -> Counts:
    if counts_by_day is None:
        return event_queries.groups(conn, site, date_range, (), filters).get((), Counts())
    totals = Counts()
    for counts in counts_by_day.values():
        totals = totals.plus(counts)
    return totals
