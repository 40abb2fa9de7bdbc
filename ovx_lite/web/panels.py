"""What a dashboard's numbers look like: totals, chart, panels, and the calls of the API behind them."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite import countries, money, periods
from ovx_lite.chart import UNITS, Chart, Mark, Point, chart, exact
from ovx_lite.days import iso, local_day
from ovx_lite.filters import PROPS, Test
from ovx_lite.model import Site
from ovx_lite.periods import Period, label
from ovx_lite.results import Numbers, change, metric
from ovx_lite.store import boards
from ovx_lite.store.boards import Board, Ranking
from ovx_lite.store.stats import Counts
from ovx_lite.views import COMPARISONS, METRICS, NOUNS, PERIODS, TABS, View, operator, said

TITLES = {"pages": "Pages", "sources": "Sources", "places": "Countries", "devices": "Devices"}
_LONGEST = 300  # characters of a label; the rest is not worth its bytes
_BAD_IF_MORE = ("bounce_rate",)


class Place(NamedTuple):
    """Where a dashboard is: its path, with the root; whether for all who have its link; the server's URL."""

    path: str
    shared: bool
    server: str


class Shown(NamedTuple):
    """A dashboard that is put together: a site, what is shown of it, where, and at what time (Unix ms)."""

    site: Site
    view: View
    board: Board
    place: Place
    now: int


def context(shown: Shown) -> dict[str, Any]:
    """All that the template is given, but for what every page is."""
    site, view, board, place, _ = shown
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
        "chart": _chart(shown),
        "active": board.active,
        "live": f"{path}/live",
        "panels": _panels(shown),
        "marks": _marks(shown),
        "annotation_wrong": {},
        "stale": "The numbers of some of these days are being counted anew: this takes a while."
        if board.is_stale
        else "",
        "empty": board.oldest is None,
    }


def chips(view: View, path: str) -> list[dict[str, str]]:
    """The filters, and where each is taken away."""
    return [{"text": said(test)[:_LONGEST], "href": view.without(test).url(path)} for test in view.filters]


def spoken(period: Period) -> str:
    """A period in words: `23 Oct – 21 Nov 2026`."""
    first, last = (date.fromisoformat(iso(day)) for day in (period.first, period.last))
    until = f"{last.day} {last:%b %Y}"
    if first == last:
        return until
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} – {until}"
    return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} – {until}"


def value_of(name: str, counts: Counts | None) -> float | None:
    """A metric of counts."""
    if counts is None:
        return None
    told = metric(name, Numbers(*counts))
    assert not isinstance(told, dict), "it is no amount of money"
    return told


def short(number: int) -> str:
    """A count in few letters: `12.3k`."""
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= limit * 0.9995:
            scaled = number / limit
            return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:.0f}").removesuffix(".0") + letter
    return f"{number}"


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
        by = None if board.was is None else change(value, before)
        few, told = _said_of(name, value)
        made.append(
            {
                "key": name,
                "label": words,
                "value": few,
                "exact": told,
                "change": ""
                if by is None
                else f"{by:+.0f}%".replace("-", "−").replace("+0%", "0%").replace("−0%", "0%"),
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
    for key in periods.labels(period, unit, timezone):
        at = datetime.fromisoformat(key)
        if unit == "time:hour":
            made.append((key, f"{at:%a} {at.day} {at:%b}, {at:%H:%M}", f"{at:%H:%M}"))
        elif unit == "time:month":
            made.append((key, f"{at:%B %Y}", f"{at:%b}" if at.month > 1 else f"{at:%b %Y}"))
        else:
            told = f"Week of {at.day} {at:%b %Y}" if unit == "time:week" else f"{at:%a} {at.day} {at:%b}"
            made.append((key, told, f"{at.day} {at:%b}"))
    return made


def _now_in(unit: str, now: int, timezone: str) -> str:
    if unit == "time:hour":
        return datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(timezone)).strftime("%Y-%m-%d %H:00:00")
    return label(local_day(now, timezone), unit.removeprefix("time:"))


def _chart(shown: Shown) -> Chart | None:
    site, view, board, _, now = shown
    name, current = view.metric, _now_in(board.unit, now, site.timezone)
    points = [
        Point(told, few, None if key > current else _point(name, board.series.get(key)), key == current)
        for key, told, few in buckets(board.period, board.unit, site.timezone)
    ]
    if not points:
        return None
    before: list[float | None] = []
    if board.compared is not None:
        keys = periods.labels(board.compared, board.unit, site.timezone)
        before = [_point(name, board.before.get(key)) for key in keys]
    return chart(points, before, _on_chart(shown), UNITS[name])


def _point(name: str, counts: Counts | None) -> float | None:
    return value_of(name, counts or Counts())


def _events_of_site(shown: Shown) -> list[tuple[int, str, str, str]]:
    """What happened in the period, by day: goals that were added, notes, and these' ids."""
    site, _, board, place, _ = shown
    goals = (
        []
        if place.shared
        else [(local_day(goal.created, site.timezone), f"Goal added: {goal.name}", "goal", "") for goal in board.goals]
    )
    notes = [(note.day, note.text, "note", note.id) for note in board.annotations]
    period = board.period
    return sorted(one for one in [*goals, *notes] if period.first <= one[0] <= period.last)


def _on_chart(shown: Shown) -> list[Mark]:
    site, _, board, _, _ = shown
    keys = periods.labels(board.period, board.unit, site.timezone)
    made = []
    for day, text, kind, _ in _events_of_site(shown):
        key = f"{iso(day)} 12:00:00" if board.unit == "time:hour" else label(day, board.unit.removeprefix("time:"))
        if key in keys:
            made.append(Mark(keys.index(key), text, "goal" if kind == "goal" else "note"))
    return made


def _marks(shown: Shown) -> list[dict[str, str]]:
    path = shown.place.path
    return [
        {
            "day_label": f"{date.fromisoformat(iso(day)):%-d %b %Y}",
            "text": text,
            "kind": kind,
            "remove": f"{path}/annotations/{id}/remove" if id else "",
        }
        for day, text, kind, id in _events_of_site(shown)
    ]


def worded(dimension: str, value: str) -> str:
    """What stands in a dimension, as people read it."""
    if not value:
        return "(unknown)"
    return countries.name(value) if dimension == "visit:country" else value


def curl(
    shown: Shown, dimensions: Sequence[str], metrics: Sequence[str] = ("visitors",), tests: Iterable[Test] = ()
) -> str:
    """The call of the API behind a panel, as a shell takes it; none for those who may not call it."""
    site, view, board, place, _ = shown
    if place.shared:
        return ""
    told: dict[str, Any] = {
        "site_id": site.id,
        "metrics": metrics,
        "date_range": [iso(board.period.first), iso(board.period.last)],
        "dimensions": dimensions,
        "filters": [[operator(test), test.dimension, test.values] for test in (*view.filters, *tests)],
    }
    body = msgspec.json.encode({key: value for key, value in told.items() if value}).decode()
    url = shlex.quote(f"{place.server}/api/v1/stats/query")
    return f"curl {url} -H 'Authorization: Bearer YOUR_API_KEY' -d {shlex.quote(body)}"


def _panels(shown: Shown) -> list[dict[str, Any]]:
    made = [_ranked(shown, panel) for panel in TABS]
    made += [_goals(shown), _events(shown), _revenue(shown)]
    if not shown.place.shared:
        made += [_people(shown), _excluded(shown)]
    return made


def _panel(shown: Shown, key: str, title: str, **rest: Any) -> dict[str, Any]:
    usual = {
        "tabs": [],
        "column": title,
        "unit": "Visitors",
        "rows": [],
        "more": "",
        "more_label": "",
        "curl": "",
        "note": "",
    }
    csv = shown.view.url(f"{shown.place.path}/csv/{key}")
    return {"key": key, "title": title, **usual, "csv": csv, "empty": "Nothing in this period.", **rest}


def row(words: str, number: int, most: int, href: str = "", second: str = "", value: str = "") -> dict[str, Any]:
    """A row of a panel; `most` is the number of the first."""
    return {
        "label": words[:_LONGEST],
        "title": words[:2000] if len(words) > 40 else "",
        "href": href,
        "share": min(number / most, 1.0) if most > 0 else 0.0,
        "value": value or short(number),
        "exact": f"{number:,}",
        "second": second,
    }


def rows_of(shown: Shown, dimension: str, ranking: Ranking, of: int = 0) -> list[dict[str, Any]]:
    """The rows of a ranking; `of` is how many visitors a rate is of, 0 for none."""
    view, path, most = shown.view, shown.place.path, ranking.rows[0][1] if ranking.rows else 0
    return [
        row(
            worded(dimension, value),
            visitors,
            most,
            view.with_test(Test(dimension, "is", (value,))).url(path),
            f"{100 * visitors / of:.1f}%" if of else "",
        )
        for value, visitors in ranking.rows
    ]


def _ranked(shown: Shown, key: str) -> dict[str, Any]:
    view, path, dimension = shown.view, shown.place.path, shown.view.tab(key)
    ranking = shown.board.rankings[key]
    tabs = [
        {"label": words, "href": f"{view.with_tab(key, word).url(path)}#panel-{key}", "current": word == dimension}
        for word, words in TABS[key].items()
    ]
    noun, nouns = NOUNS[dimension]
    more = view.url(f"{path}/top/{dimension.partition(':')[2]}") if ranking.total > len(ranking.rows) else ""
    return _panel(
        shown,
        key,
        TITLES[key],
        tabs=tabs if len(tabs) > 1 else [],
        column=noun,
        rows=rows_of(shown, dimension, ranking),
        more=more,
        more_label=f"All {ranking.total:,} {nouns}",
        curl=curl(shown, [dimension]),
        empty=f"No {nouns} in this period.",
    )


def _goals(shown: Shown) -> dict[str, Any]:
    dimension, board = "event:goal", shown.board
    empty = (
        "No goal was met in this period."
        if board.goals
        else "Goals tell how many of the visitors did what you want: add one in the settings."
    )
    everybody = 0 if any(test.dimension == dimension for test in shown.view.filters) else board.total.visitors
    return _panel(
        shown,
        "goals",
        "Goals",
        column="Goal",
        rows=rows_of(shown, dimension, board.rankings["goals"], everybody),
        curl=curl(shown, [dimension], ["visitors", "events", "conversion_rate"]) if board.goals else "",
        empty=empty,
    )


def _events(shown: Shown) -> dict[str, Any]:
    """The events; of one of them, its properties, one or two at once."""
    view, board, path = shown.view, shown.board, shown.place.path
    if not board.named or not board.keys:
        rows = rows_of(shown, "event:name", board.rankings["events"])
        return _panel(
            shown,
            "events",
            "Events",
            column="Event",
            rows=rows,
            curl=curl(shown, ["event:name"], ["visitors", "events"]),
            note="Choose one to see its properties." if rows and not board.named else "",
            empty="No events but pageviews in this period.",
        )
    chosen = [key for key in view.props or board.keys[:1] if key in board.keys]
    tabs = []
    for key in board.keys:
        others = [one for one in chosen if one != key]
        props = tuple(others) if key in chosen and others else (*others[-1:], key)
        href = msgspec.structs.replace(view, props=props).url(path)
        tabs.append({"label": key[:60] or "(blank)", "href": f"{href}#panel-events", "current": key in chosen})
    most = board.values[0][2] if board.values else 0
    rows = [
        row(
            " · ".join(value or "(blank)" for value in values),
            times,
            most,
            view.with_test(Test(PROPS + chosen[0], "is", values[:1])).url(path)
            if len(values) == 1 and chosen[0]
            else "",
            f"{short(visitors)} {'visitor' if visitors == 1 else 'visitors'}",
        )
        for values, visitors, times in board.values
    ]
    return _panel(
        shown,
        "events",
        f"Properties of {board.named[:60]}",
        tabs=tabs,
        column=" · ".join(key or "(blank)" for key in chosen),
        unit="Events",
        rows=rows,
        curl=curl(shown, [PROPS + key for key in chosen], ["visitors", "events"]),
        note="Choose two properties to see them together." if len(board.keys) > 1 else "",
    )


def _revenue(shown: Shown) -> dict[str, Any]:
    takings = shown.board.takings
    most = max((times for times, _ in takings.values()), default=0)
    rows = [
        row(
            "(no currency)" if currency == money.UNTOLD else currency,
            times,
            most,
            shown.view.with_test(Test("event:currency", "is", (currency,))).url(shown.place.path),
            f"{times:,} × {money.decimal(round(amount / times), currency)}",
            _grouped(money.decimal(amount, currency)),
        )
        for currency, (times, amount) in takings.items()
    ]
    asked = ["total_revenue", "average_revenue", "events"]
    call = curl(shown, ["event:currency"], asked) if rows else ""
    return _panel(
        shown,
        "revenue",
        "Revenue",
        column="Currency",
        unit="Total",
        rows=rows,
        curl=call,
        empty="No revenue in this period.",
    )


def _grouped(amount: str) -> str:
    """A decimal with commas between its thousands."""
    whole, dot, rest = amount.partition(".")
    return f"{int(whole):,}{dot}{rest}" if whole != "-0" else amount


def _people(shown: Shown) -> dict[str, Any]:
    found, total = shown.board.persons
    settings = f"{shown.place.path}/settings/people"
    most = found[0][2] if found else 0
    rows = [row(id, events, most, f"{settings}/{number}") for number, id, events in found]
    empty = "People are shown without filters." if shown.view.filters else "No event named anybody in this period."
    return _panel(
        shown,
        "people",
        "People",
        column="Person",
        unit="Events",
        rows=rows,
        more=settings if total > len(rows) else "",
        more_label=f"All people ({total:,} of these days)",
        note=f"Whom most events of the last {boards.LATELY} days named."
        if shown.board.period.days > boards.LATELY
        else "",
        csv=shown.view.url(f"{shown.place.path}/csv/people") if rows else "",
        empty=empty,
    )


_REASONS: Mapping[str, str] = {"bot": "Bots and crawlers"}


def _excluded(shown: Shown) -> dict[str, Any]:
    ranking = shown.board.excluded
    most = ranking.rows[0][1] if ranking.rows else 0
    rows = [row(_REASONS.get(reason, reason), events, most) for reason, events in ranking.rows]
    empty = (
        "What is not counted is shown without filters."
        if shown.view.filters
        else "Everything was counted in this period."
    )
    return _panel(
        shown,
        "excluded",
        "Not counted",
        column="Why",
        unit="Events",
        rows=rows,
        csv=shown.view.url(f"{shown.place.path}/csv/excluded") if rows else "",
        empty=empty,
    )
