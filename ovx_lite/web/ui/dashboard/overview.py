"""The template values of a dashboard: menus, totals, chart, notes and panels."""

from datetime import datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite.domain.calendar import format_day, local_day
from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import CLOCK_UNITS_MS, DateRange, format_day_bucket, format_time_bucket
from ovx_lite.stats.metrics import Counts, MetricInputs, compute_metric, percent_change
from ovx_lite.web.ui.dashboard.chart import Chart, Mark, Point, build_chart
from ovx_lite.web.ui.dashboard.data import DashboardData
from ovx_lite.web.ui.dashboard.formatting import UNITS, format_date, format_date_range, format_metric
from ovx_lite.web.ui.dashboard.panels import panels_of
from ovx_lite.web.ui.dashboard.presenters import DashboardView, filter_chips
from ovx_lite.web.ui.dashboard.state import COMPARISONS, METRICS, PERIODS, DashboardState

_LOWER_IS_BETTER = ("bounce_rate",)


def template_values(dashboard: DashboardView) -> dict[str, Any]:
    """Return the values of `dashboard.html`, except for those that every page gets."""
    site, state, data, location, *_ = dashboard
    path = location.path
    replace = msgspec.structs.replace
    return {
        "site": site,
        "is_public": location.is_public,
        "embed": state.embed,
        "path": path,
        "periods": [
            {
                "key": key,
                "label": label_text,
                "shortcut": shortcut,
                "href": replace(state, period=key, first="", last="").url(path),
                "current": not state.first and state.period == key,
            }
            for key, (label_text, shortcut) in PERIODS.items()
        ],
        "hidden_params": [param for param in state.url_params() if param[0] not in ("from", "to", "period")],
        "period_label": format_date_range(data.date_range),
        "first_date": format_day(data.date_range.first_day),
        "last_date": format_day(data.date_range.last_day),
        "comparisons": [
            {
                "key": key,
                "label": label_text,
                "href": replace(state, compare=key).url(path),
                "current": state.compare == key,
            }
            for key, label_text in COMPARISONS.items()
        ],
        "chips": filter_chips(state, path),
        "clear_href": replace(state, filters=(), props=()).url(path) if len(state.filters) > 1 else "",
        "totals": _totals(state, data, path),
        "totals_csv": state.url(f"{path}/csv/totals"),
        "chart": _build_chart(dashboard),
        "active_visitors": dashboard.active_visitors,
        "live_url": f"{path}/live",
        "panels": panels_of(dashboard),
        "marks": _mark_rows(dashboard),
        "annotation_errors": {},
        "annotation": {"day": "", "text": ""},
        "stale_notice": "Some days are being counted again. Until that is done, this page may take longer to load."
        if data.is_stale
        else "",
        "has_no_events": data.oldest_day is None,
    }


def metric_value(name: str, counts: Counts | None) -> float | None:
    """Compute a metric; None without counts, or if it is undefined, such as the bounce rate without visits."""
    if counts is None:
        return None
    value = compute_metric(name, MetricInputs(counts))
    assert not isinstance(value, dict), "no metric of the dashboard is an amount of money"
    return value


def _totals(state: DashboardState, data: DashboardData, path: str) -> list[dict[str, Any]]:
    totals = []
    for name, label_text in METRICS.items():
        value, comparison_value = metric_value(name, data.totals), metric_value(name, data.comparison_totals)
        change_percent = None if data.comparison_totals is None else percent_change(value, comparison_value)
        rounded_percent = None if change_percent is None else round(change_percent)
        compact_text, exact_text = format_metric(name, value)
        totals.append(
            {
                "key": name,
                "label": label_text,
                "value": compact_text,
                "exact": exact_text,
                "change": ""
                if rounded_percent is None
                else f"{rounded_percent:+}%".replace("-", "−")
                if rounded_percent
                else "0%",
                "is_improvement": None if not rounded_percent else (rounded_percent > 0) != (name in _LOWER_IS_BETTER),
                "comparison_value": "" if data.comparison_totals is None else format_metric(name, comparison_value)[1],
                "href": msgspec.structs.replace(state, metric=name).url(path),
                "current": state.metric == name,
            }
        )
    return totals


def chart_buckets(date_range: DateRange, time_unit: str, timezone: str) -> list[tuple[str, str, str]]:
    """Return the key, the long label and the axis label of each point of a period's chart."""
    buckets = []
    for key in date_ranges.bucket_labels(date_range, time_unit, timezone):
        start = datetime.fromisoformat(key)
        if time_unit == "time:hour":
            buckets.append((key, f"{start:%a} {start.day} {start:%b}, {start:%H:%M}", f"{start:%H:%M}"))
        elif time_unit == "time:month":
            buckets.append((key, f"{start:%B %Y}", f"{start:%b %Y}"))
        else:
            long_label = (
                f"Week of {start.day} {start:%b %Y}"
                if time_unit == "time:week"
                else f"{start:%a} {start.day} {start:%b}"
            )
            buckets.append((key, long_label, f"{start.day} {start:%b}"))
    return buckets


def _bucket_key(time_unit: str, now_ms: int, timezone: str) -> str:
    if time_unit in CLOCK_UNITS_MS:
        return format_time_bucket(time_unit, datetime.fromtimestamp(now_ms / 1000, ZoneInfo(timezone)))
    return format_day_bucket(local_day(now_ms, timezone), time_unit.removeprefix("time:"))


def _build_chart(dashboard: DashboardView) -> Chart | None:
    site, state, data, _, now_ms, *_ = dashboard
    metric_name, current_key = state.metric, _bucket_key(data.time_unit, now_ms, site.timezone)
    points = [
        Point(
            long_label,
            short_label,
            None if key > current_key else _point_value(metric_name, data.series.get(key)),
            key == current_key,
        )
        for key, long_label, short_label in chart_buckets(data.date_range, data.time_unit, site.timezone)
    ]
    if not points:
        return None
    comparison: list[float | None] = []
    if data.comparison_range is not None:
        keys = date_ranges.bucket_labels(data.comparison_range, data.time_unit, site.timezone)
        comparison = [_point_value(metric_name, data.comparison_series.get(key)) for key in keys]
    return build_chart(points, comparison, _chart_marks(dashboard), UNITS[metric_name])


def _point_value(name: str, counts: Counts | None) -> float | None:
    return metric_value(name, counts or Counts())


class _ChartEvent(NamedTuple):
    """A note or a new goal. `hour_key` is its point on a chart by the hour; `note_id` is `""` for a goal."""

    day: int
    hour_key: str
    text: str
    kind: Literal["goal", "note"]
    note_id: str = ""


def _chart_events(dashboard: DashboardView) -> list[_ChartEvent]:
    """Return the notes and new goals of the period by day. Public links do not show goals."""
    site, _, data, location, *_ = dashboard
    events = [
        _ChartEvent(note.day, f"{format_day(note.day)} 12:00:00", note.text, "note", note.id)
        for note in dashboard.annotations
    ]
    for goal in [] if location.is_public else dashboard.goals:
        day = local_day(goal.created_at_ms, site.timezone)
        hour_key = _bucket_key("time:hour", goal.created_at_ms, site.timezone)
        events.append(_ChartEvent(day, hour_key, f"Goal added: {goal.name}", "goal"))
    return sorted(event for event in events if data.date_range.first_day <= event.day <= data.date_range.last_day)


def _chart_marks(dashboard: DashboardView) -> list[Mark]:
    site, _, data, *_ = dashboard
    keys = date_ranges.bucket_labels(data.date_range, data.time_unit, site.timezone)
    marks = []
    for event in _chart_events(dashboard):
        key = (
            event.hour_key
            if data.time_unit == "time:hour"
            else format_day_bucket(event.day, data.time_unit.removeprefix("time:"))
        )
        if key in keys:
            marks.append(Mark(keys.index(key), event.text, event.kind))
    return marks


def _mark_rows(dashboard: DashboardView) -> list[dict[str, str]]:
    path = dashboard.location.path
    return [
        {
            "day_label": format_date(event.day),
            "text": event.text,
            "kind": event.kind,
            "remove_url": f"{path}/annotations/{event.note_id}/remove" if event.note_id else "",
        }
        for event in _chart_events(dashboard)
    ]
