"""What a dashboard shows above its panels: totals, the chart, what happened; and all of it together."""

from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite.domain.calendar import iso, local_day
from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import CLOCK, Period, label, told_by_clock
from ovx_lite.stats.metrics import Counts, Numbers, change, metric
from ovx_lite.web.ui.dashboard.chart import UNITS, Chart, Mark, Point, chart, exact
from ovx_lite.web.ui.dashboard.data import Board
from ovx_lite.web.ui.dashboard.panels import panels_of
from ovx_lite.web.ui.dashboard.presenters import Shown, chips, short, spoken
from ovx_lite.web.ui.dashboard.state import COMPARISONS, METRICS, PERIODS, View

_BAD_IF_MORE = ("bounce_rate",)


def context(shown: Shown) -> dict[str, Any]:
    """All that the template is given, but for what every page is."""
    site, view, board, place, *_ = shown
    path = place.path
    replace = msgspec.structs.replace
    return {
        "site": site,
        "shared": place.shared,
        "embed": view.embed,
        "path": path,
        "periods": [
            {
                "key": key,
                "label": words,
                "keys": letter,
                "href": replace(view, period=key, first="", last="").url(path),
                "current": not view.first and view.period == key,
            }
            for key, (words, letter) in PERIODS.items()
        ],
        "kept": [pair for pair in view.params() if pair[0] not in ("from", "to", "period")],
        "period_label": spoken(board.period),
        "since": iso(board.period.first),
        "until": iso(board.period.last),
        "compares": [
            {"key": key, "label": words, "href": replace(view, compare=key).url(path), "current": view.compare == key}
            for key, words in COMPARISONS.items()
        ],
        "chips": chips(view, path),
        "clear_href": replace(view, filters=(), props=()).url(path) if len(view.filters) > 1 else "",
        "totals": _totals(view, board, path),
        "totals_csv": view.url(f"{path}/csv/totals"),
        "chart": _chart(shown),
        "active": shown.active,
        "live": f"{path}/live",
        "panels": panels_of(shown),
        "marks": _marks(shown),
        "annotation_wrong": {},
        "annotation": {"day": "", "text": ""},
        "stale": "The numbers of some of these days are being counted anew: this takes a while."
        if board.is_stale
        else "",
        "empty": board.oldest is None,
    }


def value_of(name: str, counts: Counts | None) -> float | None:
    """A metric of counts."""
    if counts is None:
        return None
    told = metric(name, Numbers(counts))
    assert not isinstance(told, dict), "it is no amount of money"
    return told


def _said_of(name: str, value: float | None) -> tuple[str, str]:
    """A metric in few letters, and exactly."""
    if value is None:
        return "–", "–"
    told = exact(value, UNITS[name].kind)
    return (short(int(value)) if UNITS[name].kind == "count" else told), told


def _totals(view: View, board: Board, path: str) -> list[dict[str, Any]]:
    made = []
    for name, words in METRICS.items():
        value, before = value_of(name, board.total), value_of(name, board.was)
        exactly = None if board.was is None else change(value, before)
        by = None if exactly is None else round(exactly)
        by = None if by is None else round(by) or 0
        few, told = _said_of(name, value)
        made.append(
            {
                "key": name,
                "label": words,
                "value": few,
                "exact": told,
                "change": "" if by is None else f"{by:+}%".replace("-", "−") if by else "0%",
                "good": None if not by else (by > 0) != (name in _BAD_IF_MORE),
                "before": "" if board.was is None else _said_of(name, before)[1],
                "href": msgspec.structs.replace(view, metric=name).url(path),
                "current": view.metric == name,
            }
        )
    return made


def buckets(period: Period, unit: str, timezone: str) -> list[tuple[str, str, str]]:
    """The points of a period's chart: the key of each, what it is called, and in short."""
    made = []
    for key in date_ranges.labels(period, unit, timezone):
        at = datetime.fromisoformat(key)
        if unit == "time:hour":
            made.append((key, f"{at:%a} {at.day} {at:%b}, {at:%H:%M}", f"{at:%H:%M}"))
        elif unit == "time:month":
            made.append((key, f"{at:%B %Y}", f"{at:%b %Y}"))
        else:
            told = f"Week of {at.day} {at:%b %Y}" if unit == "time:week" else f"{at:%a} {at.day} {at:%b}"
            made.append((key, told, f"{at.day} {at:%b}"))
    return made


def _time_of(unit: str, now: int, timezone: str) -> str:
    if unit in CLOCK:
        return told_by_clock(unit, datetime.fromtimestamp(now / 1000, ZoneInfo(timezone)))
    return label(local_day(now, timezone), unit.removeprefix("time:"))


def _chart(shown: Shown) -> Chart | None:
    site, view, board, _, now, _ = shown
    name, current = view.metric, _time_of(board.unit, now, site.timezone)
    points = [
        Point(told, few, None if key > current else _point(name, board.series.get(key)), key == current)
        for key, told, few in buckets(board.period, board.unit, site.timezone)
    ]
    if not points:
        return None
    before: list[float | None] = []
    if board.compared is not None:
        keys = date_ranges.labels(board.compared, board.unit, site.timezone)
        before = [_point(name, board.before.get(key)) for key in keys]
    return chart(points, before, _on_chart(shown), UNITS[name])


def _point(name: str, counts: Counts | None) -> float | None:
    return value_of(name, counts or Counts())


class _Event(NamedTuple):
    """What happened on a day, and which point of a chart by the hour shows it; `id` is a note's."""

    day: int
    hour: str
    text: str
    kind: Literal["goal", "note"]
    id: str = ""


def _events_of_site(shown: Shown) -> list[_Event]:
    """What happened in the period, by day: goals that were added, and notes."""
    site, _, board, place, *_ = shown
    happened = [_Event(note.day, f"{iso(note.day)} 12:00:00", note.text, "note", note.id) for note in board.annotations]
    for goal in [] if place.shared else board.goals:
        day = local_day(goal.created, site.timezone)
        hour = _time_of("time:hour", goal.created, site.timezone)
        happened.append(_Event(day, hour, f"Goal added: {goal.name}", "goal"))
    return sorted(one for one in happened if board.period.first <= one.day <= board.period.last)


def _on_chart(shown: Shown) -> list[Mark]:
    site, _, board, *_ = shown
    keys = date_ranges.labels(board.period, board.unit, site.timezone)
    made = []
    for one in _events_of_site(shown):
        key = one.hour if board.unit == "time:hour" else label(one.day, board.unit.removeprefix("time:"))
        if key in keys:
            made.append(Mark(keys.index(key), one.text, one.kind))
    return made


def _date(day: int) -> str:
    at = date.fromisoformat(iso(day))
    return f"{at.day} {at:%b %Y}"


def _marks(shown: Shown) -> list[dict[str, str]]:
    path = shown.place.path
    return [
        {
            "day_label": _date(one.day),
            "text": one.text,
            "kind": one.kind,
            "remove": f"{path}/annotations/{one.id}/remove" if one.id else "",
        }
        for one in _events_of_site(shown)
    ]
