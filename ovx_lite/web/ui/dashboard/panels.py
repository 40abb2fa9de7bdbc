"""What a dashboard's numbers look like: totals, chart, panels, and the calls of the API behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite.domain import money
from ovx_lite.stats.filters import PROPS, Test
from ovx_lite.storage.rollups.value_limit import OTHER
from ovx_lite.web.ui.dashboard import data
from ovx_lite.web.ui.dashboard.presenters import Shown, curl, panel, row, rows_of, short
from ovx_lite.web.ui.dashboard.state import NOUNS, TABS, View

NO_VIEWS = Test("event:name", "is", ("pageview",), True)
"""Views are no events of their own, where events are shown."""

TITLES = {"pages": "Pages", "sources": "Sources", "places": "Countries", "devices": "Devices"}


def panels_of(shown: Shown) -> list[dict[str, Any]]:
    """The panels, in their order."""
    made = [_ranked(shown, panel) for panel in TABS]
    made += [_goals(shown), _events(shown), _revenue(shown)]
    if not shown.place.shared:
        made += [_people(shown), _excluded(shown)]
    return made


def _ranked(shown: Shown, key: str) -> dict[str, Any]:
    view, path, dimension = shown.view, shown.place.path, shown.view.tab(key)
    ranking = shown.board.rankings[key]
    tabs = [
        {"label": words, "href": f"{view.with_tab(key, word).url(path)}#panel-{key}", "current": word == dimension}
        for word, words in TABS[key].items()
    ]
    noun, nouns = NOUNS[dimension]
    more = view.url(f"{path}/top/{dimension.partition(':')[2]}") if ranking.total > len(ranking.rows) else ""
    return panel(
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
    return panel(
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
        return panel(
            shown,
            "events",
            "Events",
            column="Event",
            rows=rows,
            curl=curl(shown, ["event:name"], ["visitors", "events"], [] if board.named else [NO_VIEWS]),
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
            _with_all(view, chosen, values).url(path) if all(chosen) else "",
            f"{short(visitors)} {'visitor' if visitors == 1 else 'visitors'}",
        )
        for values, visitors, times in board.values
    ]
    return panel(
        shown,
        "events",
        f"Properties of {board.named[:60]}",
        tabs=tabs,
        column=" · ".join(key or "(blank)" for key in chosen),
        unit="Events",
        rows=rows,
        curl=curl(shown, [PROPS + key for key in chosen], ["visitors", "events"], order="events"),
        note="Choose two properties to see them together." if len(board.keys) > 1 and len(chosen) < 2 else "",
        more=view.url(f"{path}/csv/events") if board.values_total > len(rows) else "",
        more_label=f"All {board.values_total:,} as CSV",
    )


def _with_all(view: View, keys: Sequence[str], values: Sequence[str]) -> View:
    """A view that asks for these values of these properties, too."""
    for key, value in zip(keys, values, strict=True):
        view = view.with_test(Test(PROPS + key, "is", (value,)))
    return view


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
    return panel(
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
    rows = [row(id, events, most, f"{settings}/{number}" if number != OTHER else "") for number, id, events in found]
    empty = "People are shown without filters." if shown.view.filters else "No event named anybody in this period."
    return panel(
        shown,
        "people",
        "People",
        column="Person",
        unit="Events",
        rows=rows,
        more=settings if total > len(rows) else "",
        more_label=f"All people ({total:,} of these days)",
        note=f"Whom most events of the last {data.LATELY} days named." if shown.board.period.days > data.LATELY else "",
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
    return panel(
        shown,
        "excluded",
        "Not counted",
        column="Why",
        unit="Events",
        rows=rows,
        csv=shown.view.url(f"{shown.place.path}/csv/excluded") if rows else "",
        empty=empty,
    )
