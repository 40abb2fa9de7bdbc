"""Load the data of a dashboard."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import PROPS_PREFIX, Condition, Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.stats.query import Query
from ovx_lite.stats.summary import TopList
from ovx_lite.storage.engine import EventReader
from ovx_lite.web.ui.dashboard.state import PANEL_TABS, DashboardState

PANEL_ROWS = 9
"""The number of rows of a panel."""

PEOPLE_DAYS = 7
"""The people panel covers at most the last 7 days of a period."""

# The longest periods with a point for each hour, day or week. Longer periods have a point for each month.
_MAX_DAYS_BY_HOUR, _MAX_DAYS_BY_DAY, _MAX_DAYS_BY_WEEK = 2, 100, 800


class DashboardData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a dashboard.

    `time_unit` is the step of the series. `revenue` maps a currency to the number of transactions and their sum in
    minor units. `persons` holds the rows (ID, user ID, events) and the number of all persons. `selected_event` is the
    event whose properties are shown, and `prop_keys` are the keys of these properties. `is_stale` says that days of
    the period are being counted again.
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


def load_dashboard(reader: EventReader, site: Site, state: DashboardState, now_ms: int) -> DashboardData:
    """Load the data of a site's dashboard at `now_ms` (Unix ms). Raises `ApiError`."""
    first_day = find_oldest_day(reader, site)
    date_range = state.date_range(now_ms, site.timezone, first_day)
    comparison_range = state.comparison_range(date_range, site.timezone)
    time_unit, filters = time_unit_of(date_range), state.filters
    tabs = {panel: state.tab(panel) for panel in PANEL_TABS}
    dimensions_by_panel = {**tabs, "goals": "event:goal", "events": "event:name"}
    top_dimensions = tuple(dimensions_by_panel.values())
    summary = reader.summarize(site, date_range, filters, time_unit, top_dimensions, PANEL_ROWS)
    comparison = comparison_range and reader.summarize(site, comparison_range, filters, time_unit, (), 0)
    selected_event = event_name_of(filters)
    prop_keys = reader.prop_names(site, date_range, filters) if selected_event else []
    prop_keys += [key for key in state.props if selected_event and key not in prop_keys]
    prop_rows, prop_rows_total = prop_values(
        reader, site, date_range, filters, state.props or tuple(prop_keys[:1]), PANEL_ROWS
    )
    return DashboardData(
        date_range=date_range,
        comparison_range=comparison_range,
        time_unit=time_unit,
        totals=summary.totals,
        comparison_totals=comparison.totals if comparison else None,
        series=summary.series,
        comparison_series=comparison.series if comparison else {},
        top_lists={panel: summary.top_lists[dimension] for panel, dimension in dimensions_by_panel.items()},
        revenue=summary.revenue,
        persons=([], 0) if filters else reader.active_persons(site, latest_days(date_range), PANEL_ROWS),
        excluded=TopList() if filters else reader.excluded_reasons(site, date_range, PANEL_ROWS),
        selected_event=selected_event,
        prop_keys=prop_keys,
        prop_rows=prop_rows,
        prop_rows_total=prop_rows_total,
        is_stale=summary.is_stale,
        oldest_day=first_day,
    )


def find_oldest_day(reader: EventReader, site: Site) -> int | None:
    """Return the day of a site's first event; None if it has none."""
    oldest_ms = reader.oldest_event_ms(site.id)
    return None if oldest_ms is None else local_day(oldest_ms, site.timezone)


def count_visitors(reader: EventReader, site: Site, date_range: DateRange, filters: tuple[Filter, ...]) -> int:
    """Return the visitors of a period. Raises `ApiError`."""
    groups = reader.groups(site, Query(("visitors",), date_range, filters=filters), date_range)
    return sum(inputs.counts.visitors for _, inputs in groups)


def event_name_of(filters: Iterable[Condition]) -> str:
    """Return the event name that filters select if they select exactly one, else `""`."""
    return next((condition.values[0] for condition in filters if _is_of_one_event(condition)), "")


def _is_of_one_event(condition: Condition) -> bool:
    return (
        condition.dimension == "event:name"
        and condition.operator == "is"
        and not condition.negated
        and len(condition.values) == 1
    )


def prop_values(
    reader: EventReader,
    site: Site,
    date_range: DateRange,
    filters: Sequence[Filter],
    names: Iterable[str],
    limit: int,
) -> tuple[list[tuple[tuple[str, ...], int, int]], int]:
    """Return combinations of the values of properties, and how many combinations there are in all.

    Each is a tuple of the values, visitors and events. They are sorted by events, and there are at most `limit`.
    """
    dimensions = [PROPS_PREFIX + name for name in names]
    if not dimensions:
        return [], 0
    rows, total = reader.top(site, date_range, dimensions, filters, ("events", "visitors"), limit)
    return [(key, counts.visitors, counts.events) for key, counts in rows], total
