"""What a dashboard shows above its panels: totals, the chart, what happened; and all of it together."""

from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite.domain.calendar import format_day, local_day
from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import CLOCK_UNITS_MS, DateRange, format_day_bucket, format_time_bucket
from ovx_lite.stats.metrics import Counts, MetricInputs, compute_metric, percent_change
from ovx_lite.web.ui.dashboard.chart import UNITS, Chart, Mark, Point, build_chart, format_exact
from ovx_lite.web.ui.dashboard.data import DashboardData
from ovx_lite.web.ui.dashboard.panels import panels_of
from ovx_lite.web.ui.dashboard.presenters import DashboardView, filter_chips, format_compact, format_date_range
from ovx_lite.web.ui.dashboard.state import COMPARISONS, METRICS, PERIODS, DashboardState

_BAD_IF_MORE = ("bounce_rate",)


def template_values(dashboard: DashboardView) -> dict[str, Any]:
    """All that the template is given, but for what every page is."""
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
        "stale_notice": "The numbers of some of these days are being counted anew: this takes a while."
        if data.is_stale
        else "",
        "has_no_events": data.oldest_day is None,
    }


def metric_value(name: str, counts: Counts | None) -> float | None:
    """A metric of counts."""
    if counts is None:
        return None
    value = compute_metric(name, MetricInputs(counts))
    assert not isinstance(value, dict), "it is no amount of money"
    return value


def _format_metric(name: str, value: float | None) -> tuple[str, str]:
    """A metric in few letters, and exactly."""
    if value is None:
        return "–", "–"
    exact_text = format_exact(value, UNITS[name].kind)
    return (format_compact(int(value)) if UNITS[name].kind == "count" else exact_text), exact_text


def _totals(state: DashboardState, data: DashboardData, path: str) -> list[dict[str, Any]]:
    totals = []
    for name, label_text in METRICS.items():
        value, comparison_value = metric_value(name, data.totals), metric_value(name, data.comparison_totals)
        change_percent = None if data.comparison_totals is None else percent_change(value, comparison_value)
        rounded_percent = None if change_percent is None else round(change_percent)
        rounded_percent = None if rounded_percent is None else round(rounded_percent) or 0
        compact_text, exact_text = _format_metric(name, value)
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
                "is_improvement": None if not rounded_percent else (rounded_percent > 0) != (name in _BAD_IF_MORE),
                "comparison_value": "" if data.comparison_totals is None else _format_metric(name, comparison_value)[1],
                "href": msgspec.structs.replace(state, metric=name).url(path),
                "current": state.metric == name,
            }
        )
    return totals


def chart_buckets(date_range: DateRange, time_unit: str, timezone: str) -> list[tuple[str, str, str]]:
    """The points of a period's chart: the key of each, what it is called, and in short."""
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
    site, state, data, _, now_ms, _ = dashboard
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
    """What happened on a day, and which point of a chart by the hour shows it; `id` is a note's."""

    day: int
    hour_key: str
    text: str
    kind: Literal["goal", "note"]
    note_id: str = ""


def _chart_events(dashboard: DashboardView) -> list[_ChartEvent]:
    """What happened in the period, by day: goals that were added, and notes."""
    site, _, data, location, *_ = dashboard
    events = [
        _ChartEvent(note.day, f"{format_day(note.day)} 12:00:00", note.text, "note", note.id)
        for note in data.annotations
    ]
    for goal in [] if location.is_public else data.goals:
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


def _format_day(day: int) -> str:
    local_date = date.fromisoformat(format_day(day))
    return f"{local_date.day} {local_date:%b %Y}"


def _mark_rows(dashboard: DashboardView) -> list[dict[str, str]]:
    path = dashboard.location.path
    return [
        {
            "day_label": _format_day(event.day),
            "text": event.text,
            "kind": event.kind,
            "remove_url": f"{path}/annotations/{event.note_id}/remove" if event.note_id else "",
        }
        for event in _chart_events(dashboard)
    ]
