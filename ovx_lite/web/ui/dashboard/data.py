"""Load the data of a dashboard: from rollups if possible, else from events. Filters always need the events."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Goal, Site
from ovx_lite.stats.date_ranges import DateRange, format_day_bucket
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage import annotations, registry
from ovx_lite.storage.annotations import Annotation
from ovx_lite.storage.read import custom_props, event_queries, events, filtered_scan, revenue, rollup_queries
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.web.ui.dashboard.state import PANEL_TABS, DashboardState

PANEL_ROWS = 9
"""The number of rows of a panel."""

PEOPLE_DAYS = 7
"""The people panel covers at most the last 7 days of a period."""

# The longest periods with a point for each hour, day or week. Longer periods have a point for each month.
_MAX_DAYS_BY_HOUR, _MAX_DAYS_BY_DAY, _MAX_DAYS_BY_WEEK = 2, 100, 800


class TopList(msgspec.Struct, frozen=True):
    """The values of a dimension with their counts, mostly of visitors, and the number of all values."""

    rows: Sequence[tuple[str, int]] = ()
    total: int = 0


class DashboardData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a dashboard.

    `time_unit` is the step of the series. `revenue` maps a currency to the number of transactions and their sum in
    minor units. `persons` holds the rows (ID, user ID, events) and the number of all persons. `selected_event` is the
    event whose properties are shown, and `prop_keys` are the keys of these properties. `is_stale` says that rollups of
    the period are being rebuilt.
    """

    date_range: DateRange
    comparison_range: DateRange | None = None
    time_unit: str = "time:day"
    totals: Counts = Counts()
    comparison_totals: Counts | None = None
    series: Mapping[str, Counts] = {}
    comparison_series: Mapping[str, Counts] = {}
    top_lists: Mapping[str, TopList] = {}
    revenue: Mapping[str, tuple[int, int]] = {}
    persons: tuple[Sequence[tuple[int, str, int]], int] = ((), 0)
    excluded: TopList = TopList()
    selected_event: str = ""
    prop_keys: Sequence[str] = ()
    prop_rows: Sequence[tuple[tuple[str, ...], int, int]] = ()
    prop_rows_total: int = 0
    goals: Sequence[Goal] = ()
    annotations: Sequence[Annotation] = ()
    is_stale: bool = False
    oldest_day: int | None = None


def empty_dashboard(date_range: DateRange) -> DashboardData:
    """Return a dashboard without any counts."""
    return DashboardData(date_range=date_range)


def latest_days(date_range: DateRange) -> DateRange:
    """Return the last days of a period, which the people panel covers: a longer period may have too many people."""
    return date_range._replace(first_day=max(date_range.first_day, date_range.last_day - PEOPLE_DAYS + 1))


def time_unit_of(date_range: DateRange) -> str:
    """Return the time dimension of a period's series, for example `time:day`."""
    max_days = {"time:hour": _MAX_DAYS_BY_HOUR, "time:day": _MAX_DAYS_BY_DAY, "time:week": _MAX_DAYS_BY_WEEK}
    return next((time_unit for time_unit, days in max_days.items() if date_range.day_count <= days), "time:month")


def load_dashboard(conn: sqlite3.Connection, site_slug: str, state: DashboardState, now_ms: int) -> DashboardData:
    """Load the data of a site's dashboard at `now_ms` (Unix ms). Raises `ApiError`."""
    site = registry.find_site(conn, site_slug)
    first_day = find_oldest_day(conn, site)
    date_range = state.date_range(now_ms, site.timezone, first_day)
    comparison_range = state.comparison_range(date_range, site.timezone)
    time_unit, filters = time_unit_of(date_range), state.filters
    tabs = {panel: state.tab(panel) for panel in PANEL_TABS}
    dimensions_by_panel = {**tabs, "goals": "event:goal", "events": "event:name"}
    top_lists, counts_by_day, scanned_revenue = _load_counts(conn, site, date_range, filters, dimensions_by_panel)
    series = _series(conn, site, date_range, time_unit, filters, counts_by_day)
    comparison_totals, comparison_series = None, dict[str, Counts]()
    if comparison_range is not None:
        _, comparison_counts_by_day, _ = _load_counts(conn, site, comparison_range, filters, {})
        comparison_series = _series(conn, site, comparison_range, time_unit, filters, comparison_counts_by_day)
        comparison_totals = _load_totals(conn, site, comparison_range, filters, comparison_counts_by_day)
    selected_event = custom_props.event_name_of(filters)
    prop_keys = custom_props.prop_names(conn, site, date_range, filters) if selected_event else []
    prop_keys += [key for key in state.props if selected_event and key not in prop_keys]
    prop_rows, prop_rows_total = custom_props.prop_values(
        conn, site, date_range, filters, state.props or tuple(prop_keys[:1]), PANEL_ROWS
    )
    return DashboardData(
        date_range=date_range,
        comparison_range=comparison_range,
        time_unit=time_unit,
        totals=_load_totals(conn, site, date_range, filters, counts_by_day),
        comparison_totals=comparison_totals,
        series=series,
        comparison_series=comparison_series,
        top_lists=top_lists,
        revenue=revenue.by_currency(conn, site, date_range, filters) if scanned_revenue is None else scanned_revenue,
        persons=([], 0) if filters else rollup_queries.persons(conn, site, latest_days(date_range), PANEL_ROWS),
        excluded=TopList() if filters else excluded_reasons(conn, site, date_range, PANEL_ROWS),
        selected_event=selected_event,
        prop_keys=prop_keys,
        prop_rows=prop_rows,
        prop_rows_total=prop_rows_total,
        goals=goals_of(conn, site.id),
        annotations=annotations.of_days(conn, site.id, date_range.first_day, date_range.last_day),
        is_stale=not rollup_queries.is_complete(conn, site, date_range) and date_range.whole_days,
        oldest_day=first_day,
    )


def _load_counts(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    dimensions_by_panel: Mapping[str, str],
) -> tuple[dict[str, TopList], dict[int, Counts] | None, Mapping[str, tuple[int, int]] | None]:
    """Return the top list of each panel, the counts of each day, and revenue.

    The last two are None if they were not a by-product of the top lists and need a query of their own.
    """
    if not filters and rollup_queries.is_complete(conn, site, date_range):
        top_lists = {
            panel: _load_top_list(conn, site, date_range, dimension) for panel, dimension in dimensions_by_panel.items()
        }
        return top_lists, rollup_queries.day_counts(conn, site, date_range), None
    dimensions = [dimension for dimension in dimensions_by_panel.values() if dimension in filtered_scan.DIMENSIONS]
    scan = filtered_scan.scan(conn, site, date_range, filters, dimensions, PANEL_ROWS) if filters else None
    top_lists = {}
    for panel, dimension in dimensions_by_panel.items():
        if scan is not None and dimension in scan.top:
            top_lists[panel] = TopList(*scan.top[dimension])
        else:
            top_lists[panel] = top_list_of(
                event_queries.rows(conn, site, date_range, (dimension,), filters, {"visitors"}), dimension
            )
    return (top_lists, None, None) if scan is None else (top_lists, scan.days, scan.revenue)


def top_list_of(
    groups: Iterable[tuple[tuple[str, ...], Counts]], dimension: str, max_rows: int = PANEL_ROWS
) -> TopList:
    """Return the values with the most visitors. Pageviews are left out of the list of events."""
    top_rows, total = event_queries.top(
        (row for row in groups if (dimension, *row[0]) != event_queries.PAGEVIEW), "visitors", max_rows
    )
    return TopList([(value, counts.visitors) for (value,), counts in top_rows], total)


def _load_top_list(conn: sqlite3.Connection, site: Site, date_range: DateRange, dimension: str) -> TopList:
    if dimension in ("event:goal", "event:name", "visit:exit_page"):
        return top_list_of(event_queries.rows(conn, site, date_range, (dimension,), (), {"visitors"}), dimension)
    rows, total = rollup_queries.top(conn, site, date_range, rollup_queries.DIMENSIONS[dimension], PANEL_ROWS)
    return TopList(rows, total)


def excluded_reasons(conn: sqlite3.Connection, site: Site, date_range: DateRange, max_rows: int) -> TopList:
    """Return why events of a period are not counted, with the number of events for each reason."""
    rows, total = rollup_queries.top(conn, site, date_range, Dimension.EXCLUDED, max_rows, "events")
    return TopList(rows, total)


def find_oldest_day(conn: sqlite3.Connection, site: Site) -> int | None:
    """Return the day of a site's first event; None if it has none."""
    oldest_ms = events.oldest_event_ms(conn, site.id)
    return None if oldest_ms is None else local_day(oldest_ms, site.timezone)


def _series(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    time_unit: str,
    filters: Sequence[Filter],
    counts_by_day: Mapping[int, Counts] | None,
) -> dict[str, Counts]:
    if counts_by_day is None or time_unit == "time:hour":
        return {
            key: counts
            for (key,), counts in event_queries.groups(conn, site, date_range, (time_unit,), filters).items()
        }
    series: dict[str, Counts] = {}
    for day, counts in counts_by_day.items():
        key = format_day_bucket(day, time_unit.removeprefix("time:"))
        series[key] = series[key].plus(counts) if key in series else counts
    return series


def _load_totals(
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
