"""All rows of a panel: on pages of a hundred, and as CSV."""

import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from ovx_lite.domain import money
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site
from ovx_lite.stats import metrics
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read import custom_props, event_queries, revenue, rollup_queries
from ovx_lite.web.ui.dashboard import data
from ovx_lite.web.ui.dashboard import presenters as shown_as
from ovx_lite.web.ui.dashboard.presenters import Place, Shown
from ovx_lite.web.ui.dashboard.state import METRICS, NOUNS, TABS, View

ON_A_PAGE = 100
_MOST = 10_000
_INVISIBLE = re.compile(r"\A[\s\x00-\x1f\x7f-\xa0\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
_OF_VISITS = ("visitors", "visits")
_OF_EVENTS = ("visitors", "visits", "pageviews", "events")


class Table(NamedTuple):
    """Rows of what stands in a dimension, of a period, and how many there are in all."""

    period: Period
    rows: Sequence[tuple[str, Counts]]
    total: int
    number: int


def _columns(dimension: str) -> tuple[str, ...]:
    return _OF_VISITS if dimension.startswith("visit:") else _OF_EVENTS


def _groups(
    conn: sqlite3.Connection, site: Site, view: View, dimension: str, period: Period, most: int
) -> tuple[list[tuple[str, Counts]], int]:
    """The values of a dimension that most visitors have, at most so many; and how many there are."""
    groups = event_queries.rows(conn, site, period, (dimension,), view.filters, _columns(dimension))
    shown = (
        (key, counts)
        for key, counts in groups
        if (counts.visitors or counts.events) and (dimension, *key) != event_queries.VIEWS
    )
    best, total = event_queries.top(shown, "visitors", most)
    return [(value, counts) for (value,), counts in best], total


def table(conn: sqlite3.Connection, now: int, site: Site, view: View, dimension: str, number: int) -> Table:
    """A page, from 1 on, of what stands in a dimension at `now` (Unix ms). Raises `Refused`."""
    period = view.stretch(now, site.timezone, data.oldest(conn, site))
    number = min(number, _MOST // ON_A_PAGE)
    begin = (number - 1) * ON_A_PAGE
    rows, total = _groups(conn, site, view, dimension, period, begin + ON_A_PAGE)
    return Table(period, rows[begin:], total, number)


def context(site: Site, view: View, dimension: str, found: Table, place: Place) -> dict[str, Any]:
    """All that the template of such a page is given, but for what every page is."""
    path, word, columns = place.path, dimension.partition(":")[2], _columns(dimension)
    here, most = f"{path}/top/{word}", max((counts.visitors for _, counts in found.rows), default=0)
    ranking = data.Ranking([(value, counts.visitors) for value, counts in found.rows])
    shown = Shown(site, view, data.nothing(found.period), place, 0)
    rows = shown_as.rows_of(shown, dimension, ranking)
    for row, (_, counts) in zip(rows, found.rows, strict=True):
        row["cells"] = [f"{getattr(counts, column):,}" for column in columns]
        row["share"] = counts.visitors / most if most else 0.0
    noun, nouns = NOUNS[dimension]
    panel = {
        "key": word,
        "title": f"All {nouns}",
        "tabs": [],
        "rows": rows,
        "more": "",
        "more_label": "",
        "csv": view.url(f"{path}/csv/{word}"),
        "curl": shown_as.curl(shown, [dimension], columns),
        "note": "",
        "empty": f"No {nouns} in this period.",
    }
    return {
        "site": site,
        "chips": [
            {"text": chip["text"], "href": view.without(test).url(here)}
            for chip, test in zip(shown_as.chips(view, path), view.filters, strict=True)
        ],
        "period_label": shown_as.spoken(found.period),
        "back": view.url(path),
        "panel": panel,
        "head": [noun, *(METRICS.get(column, column.capitalize()) for column in columns)],
        "pages": {
            "newer": _numbered(view, here, found.number - 1) if found.number > 1 else "",
            "older": _numbered(view, here, found.number + 1)
            if min(found.total, _MOST) > found.number * ON_A_PAGE
            else "",
        },
    }


def _numbered(view: View, path: str, number: int) -> str:
    url = view.url(path)
    return f"{url}{'&' if '?' in url else '?'}page={number}"


def file(
    conn: sqlite3.Connection, now: int, site: Site, view: View, panel: str
) -> tuple[list[str], list[list[object]]]:
    """The head and the rows of a panel's CSV at `now` (Unix ms). Raises `Refused`."""
    period = view.stretch(now, site.timezone, data.oldest(conn, site))
    if panel == "events" and (named := custom_props.chosen(conn, site, period, view.filters, view.props)):
        found, _ = custom_props.values(conn, site, period, view.filters, named, _MOST)
        return [*named, "visitors", "events"], [[*key, visitors, events] for key, visitors, events in found]
    dimension = view.tab(panel) if panel in TABS else {"goals": "event:goal", "events": "event:name"}.get(panel)
    dimension = dimension or next((name for name in NOUNS if name.partition(":")[2] == panel), None)
    if dimension is not None:
        columns = _columns(dimension)
        rows, _ = _groups(conn, site, view, dimension, period, _MOST)
        head = [dimension.partition(":")[2], *columns]
        told = [[value, *(getattr(counts, column) for column in columns)] for value, counts in rows]
        if dimension == "event:goal":
            is_asked_for = any(test.dimension == dimension for test in view.filters)  # then nobody knows the others
            everybody = (
                0
                if is_asked_for
                else event_queries.groups(conn, site, period, (), view.filters, {"visitors"})[()].visitors
            )
            numbers = (metrics.Numbers(counts, everybody) for _, counts in rows)
            rates = (metrics.metric("conversion_rate", one) for one in numbers)
            return [*head, "conversion_rate"], [[*row, rate] for row, rate in zip(told, rates, strict=True)]
        return head, told
    if panel == "totals":
        unit = data.unit_of(period)
        groups = event_queries.groups(conn, site, period, (unit,), view.filters)
        told = [[key, *_metrics(counts)] for (key,), counts in sorted(groups.items())]
        return [unit.partition(":")[2], *METRICS], told
    if panel == "revenue":
        takings = revenue.by_currency(conn, site, period, view.filters)
        told = [
            [currency, times, *(money.decimal(one, currency) for one in (amount, round(amount / times)))]
            for currency, (times, amount) in takings.items()
        ]
        return ["currency", "events", "total", "average"], told
    if panel == "people":
        people, _ = rollup_queries.persons(conn, site, data.lately(period), _MOST) if not view.filters else ([], 0)
        return ["person", "events"], [[id, events] for _, id, events in people]
    if panel == "excluded":
        rows_of = data.excluded(conn, site, period, _MOST) if not view.filters else data.Ranking()
        return ["reason", "events"], [[reason, events] for reason, events in rows_of.rows]
    raise Refused("not_found", "There is no such panel: go back to the dashboard.")


def _metrics(counts: Counts) -> list[object]:
    return [metrics.metric(name, metrics.Numbers(counts)) for name in METRICS]


def neutralised(cell: object) -> object:
    """A cell of a CSV file, marked as text (with an apostrophe) if a spreadsheet could take it for a formula.

    Spreadsheets pass over white space in front, and take the full-width and other forms of the signs for the signs.
    """
    if not isinstance(cell, str):
        return "" if cell is None else cell
    begins = _INVISIBLE.sub("", cell, count=1)[:1]
    if cell[:1] in ("\t", "\r", "\n") or (begins and unicodedata.normalize("NFKC", begins) in "=+-@"):
        return f"'{cell}"
    return cell
