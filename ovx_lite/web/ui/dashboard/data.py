"""All that a dashboard shows, in one look: from the rollups, or of what passes filters."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Goal, Site
from ovx_lite.stats.date_ranges import Period, label
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage import annotations, registry
from ovx_lite.storage.annotations import Annotation
from ovx_lite.storage.read import custom_props, event_queries, events, filtered_scan, revenue, rollup_queries
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.web.ui.dashboard.state import TABS, View

ROWS = 9
"""How many rows a panel has."""

LATELY = 7
"""Of so many days, those are shown whom events named."""

_HOURS, _DAYS, _WEEKS = 2, 100, 800  # up to so many days are shown by hour, by day, by week


class Ranking(msgspec.Struct, frozen=True):
    """What a panel ranks: rows of what stands in a dimension and how many visitors, and how many there are in all."""

    rows: Sequence[tuple[str, int]] = ()
    total: int = 0


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What a dashboard shows. `unit` is what a point of the series is; `was` and `before` are of the period compared.

    `takings` are by currency: how often, and how much in minor units; `persons` number, id and events. `named` is the
    event whose properties are shown: `keys` are those it has.
    """

    period: Period
    compared: Period | None = None
    unit: str = "time:day"
    total: Counts = Counts()
    was: Counts | None = None
    series: Mapping[str, Counts] = {}
    before: Mapping[str, Counts] = {}
    rankings: Mapping[str, Ranking] = {}
    takings: Mapping[str, tuple[int, int]] = {}
    persons: tuple[Sequence[tuple[int, str, int]], int] = ((), 0)
    excluded: Ranking = Ranking()
    named: str = ""
    keys: Sequence[str] = ()
    values: Sequence[tuple[tuple[str, ...], int, int]] = ()
    values_total: int = 0
    goals: Sequence[Goal] = ()
    annotations: Sequence[Annotation] = ()
    is_stale: bool = False
    oldest: int | None = None


def nothing(period: Period) -> Board:
    """A dashboard that nothing was counted for."""
    return Board(period=period)


def lately(period: Period) -> Period:
    """The last days of a period, of which those who were named are shown: of more, there may be very many."""
    return period._replace(first=max(period.first, period.last - LATELY + 1))


def unit_of(period: Period) -> str:
    """What a point of the series of a period is."""
    limits = {"time:hour": _HOURS, "time:day": _DAYS, "time:week": _WEEKS}
    return next((unit for unit, days in limits.items() if period.days <= days), "time:month")


def board(conn: sqlite3.Connection, id: str, view: View, now: int) -> Board:
    """What a dashboard shows of a site at `now` (Unix ms). Raises `Refused`."""
    site = registry.find_site(conn, id)
    first = oldest(conn, site)
    period = view.stretch(now, site.timezone, first)
    compared = view.compared(period, site.timezone)
    unit, filters = unit_of(period), view.filters
    tabs = {panel: view.tab(panel) for panel in TABS}
    wanted = {**tabs, "goals": "event:goal", "events": "event:name"}
    known, by_day, taken = _look(conn, site, period, filters, wanted)
    series = _series(conn, site, period, unit, filters, by_day)
    was, before = None, dict[str, Counts]()
    if compared is not None:
        _, days_before, _ = _look(conn, site, compared, filters, {})
        before = _series(conn, site, compared, unit, filters, days_before)
        was = _total(conn, site, compared, filters, days_before)
    named = custom_props.name_of(filters)
    keys = custom_props.keys(conn, site, period, filters) if named else []
    keys += [key for key in view.props if named and key not in keys]
    values, values_total = custom_props.values(conn, site, period, filters, view.props or tuple(keys[:1]), ROWS)
    return Board(
        period=period,
        compared=compared,
        unit=unit,
        total=_total(conn, site, period, filters, by_day),
        was=was,
        series=series,
        before=before,
        rankings=known,
        takings=revenue.by_currency(conn, site, period, filters) if taken is None else taken,
        persons=([], 0) if filters else rollup_queries.persons(conn, site, lately(period), ROWS),
        excluded=Ranking() if filters else excluded(conn, site, period, ROWS),
        named=named,
        keys=keys,
        values=values,
        values_total=values_total,
        goals=goals_of(conn, site.number),
        annotations=annotations.of_days(conn, site.number, period.first, period.last),
        is_stale=not rollup_queries.is_known(conn, site, period) and period.whole,
        oldest=first,
    )


def _look(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter], wanted: Mapping[str, str]
) -> tuple[dict[str, Ranking], dict[int, Counts] | None, Mapping[str, tuple[int, int]] | None]:
    """The rankings of panels, by their dimensions; the counts of days, and revenue; None where another has to look."""
    if not filters and rollup_queries.is_known(conn, site, period):
        rankings = {panel: _ranking(conn, site, period, word) for panel, word in wanted.items()}
        return rankings, rollup_queries.days(conn, site, period), None
    dimensions = [word for word in wanted.values() if word in filtered_scan.DIMENSIONS]
    sifted = filtered_scan.sift(conn, site, period, filters, dimensions, ROWS) if filters else None
    rankings = {}
    for panel, word in wanted.items():
        if sifted is not None and word in sifted.top:
            rankings[panel] = Ranking(*sifted.top[word])
        else:
            rankings[panel] = rank(event_queries.rows(conn, site, period, (word,), filters, {"visitors"}), word)
    return (rankings, None, None) if sifted is None else (rankings, sifted.days, sifted.takings)


def rank(groups: Iterable[tuple[tuple[str, ...], Counts]], dimension: str, most: int = ROWS) -> Ranking:
    """The values that most visitors have. Views are no events of their own there."""
    best, total = event_queries.top(
        (row for row in groups if (dimension, *row[0]) != event_queries.VIEWS), "visitors", most
    )
    return Ranking([(word, counts.visitors) for (word,), counts in best], total)


def _ranking(conn: sqlite3.Connection, site: Site, period: Period, word: str) -> Ranking:
    if word in ("event:goal", "event:name", "visit:exit_page"):
        return rank(event_queries.rows(conn, site, period, (word,), (), {"visitors"}), word)
    rows, total = rollup_queries.top(conn, site, period, rollup_queries.DIMENSIONS[word], ROWS)
    return Ranking(rows, total)


def excluded(conn: sqlite3.Connection, site: Site, period: Period, most: int) -> Ranking:
    """Why events of a period are in no count, and how many."""
    rows, total = rollup_queries.top(conn, site, period, Dimension.EXCLUDED, most, "events")
    return Ranking(rows, total)


def oldest(conn: sqlite3.Connection, site: Site) -> int | None:
    """The day of a site's first event; None if it has none."""
    first = events.oldest(conn, site.number)
    return None if first is None else local_day(first, site.timezone)


def _series(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    unit: str,
    filters: Sequence[Filter],
    days: Mapping[int, Counts] | None,
) -> dict[str, Counts]:
    if days is None or unit == "time:hour":
        return {key: counts for (key,), counts in event_queries.groups(conn, site, period, (unit,), filters).items()}
    found: dict[str, Counts] = {}
    for day, counts in days.items():
        key = label(day, unit.removeprefix("time:"))
        found[key] = found[key].plus(counts) if key in found else counts
    return found


def _total(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    filters: Sequence[Filter],
    days: Mapping[int, Counts] | None,
) -> Counts:
    if days is None:
        return event_queries.groups(conn, site, period, (), filters).get((), Counts())
    total = Counts()
    for counts in days.values():
        total = total.plus(counts)
    return total
