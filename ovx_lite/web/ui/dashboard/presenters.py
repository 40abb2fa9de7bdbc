"""What is shown of a site, and how numbers, words, filters and rows look."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain import countries
from ovx_lite.domain.calendar import iso
from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import Test
from ovx_lite.storage.rollups.value_limit import OTHER_LABEL
from ovx_lite.web.ui.dashboard.data import Board, Ranking
from ovx_lite.web.ui.dashboard.state import View, operator, said

_LONGEST = 300  # characters of a label; the rest is not worth its bytes


class Place(NamedTuple):
    """Where a dashboard is: its path, with the root; whether for all who have its link; the server's URL."""

    path: str
    shared: bool
    server: str


class Shown(NamedTuple):
    """A dashboard that is put together: what is shown of a site, where, as of when (Unix ms); and who is there now."""

    site: Site
    view: View
    board: Board
    place: Place
    now: int
    active: int = 0


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


def short(number: int) -> str:
    """A count in few letters: `12.3k`."""
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= limit * 0.9995:
            scaled = number / limit
            return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:.0f}").removesuffix(".0") + letter
    return f"{number}"


def worded(dimension: str, value: str) -> str:
    """What stands in a dimension, as people read it."""
    if not value:
        return "(unknown)"
    return countries.name(value) if dimension == "visit:country" else value


def curl(
    shown: Shown,
    dimensions: Sequence[str],
    metrics: Sequence[str] = ("visitors",),
    tests: Iterable[Test] = (),
    order: str = "",
) -> str:
    """The call of the API behind a panel, as a shell takes it; none for those who may not call it."""
    site, view, board, place, *_ = shown
    if place.shared:
        return ""
    told: dict[str, Any] = {
        "site_id": site.id,
        "metrics": metrics,
        "date_range": [iso(board.period.first), iso(board.period.last)],
        "dimensions": dimensions,
        "filters": [[operator(test), test.dimension, test.values] for test in (*view.filters, *tests)],
        "order_by": [[order, "desc"]] if order else [],
    }
    body = msgspec.json.encode({key: value for key, value in told.items() if value}).decode()
    url = shlex.quote(f"{place.server}/api/v1/stats/query")
    return f"curl {url} -H 'Authorization: Bearer YOUR_API_KEY' -d {shlex.quote(body)}"


def panel(shown: Shown, key: str, title: str, **rest: Any) -> dict[str, Any]:
    """A panel, as its template takes it: what is usual, and the rest."""
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
            "" if value == OTHER_LABEL else view.with_test(Test(dimension, "is", (value,))).url(path),
            f"{100 * visitors / of:.1f}%" if of else "",
        )
        for value, visitors in ranking.rows
    ]
