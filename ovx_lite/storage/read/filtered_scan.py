"""The whole dashboard of what passes filters, in one look at the visits.

SQLite sorts in order to group, which takes longer than to find the rows. So it writes what a day's visits have one
after the other, and Python counts it, which is quick with dicts: a day is a row, whatever the number of its visits.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read import event_queries, rollup_queries
from ovx_lite.storage.read import events as events_of
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.read.filter_sql import COLUMNS, Matching, needs_visit, of_visits
from ovx_lite.storage.read.from_clause import COUNTED, VIEW, has_strays
from ovx_lite.storage.read.scan_aggregate import DAY, OF_EVENTS, Day, Heap, Ranks, Takings, code_of
from ovx_lite.storage.read.visitor_totals import VisitorTotals

DIMENSIONS = (*(word for word in COLUMNS if word.startswith("visit:")), *OF_EVENTS)
"""What can be counted by here."""

_EVENTS_OF_PART = 50_000
"""Events that are read in one go. A day that has more is cut into parts, a part of its visitors each."""

_EVENTS_TOGETHER, _MANY_VALUES = 200_000, 20_000
"""Events that are counted in one go, unless they have many different values, of which each takes more memory."""


class Sifted(NamedTuple):
    """What passes filters: the counts of each day, what most visitors have in each dimension, revenue by currency.

    `top` has the values that most visitors have, and how many values there are. Revenue is how often, and how much in
    minor units.
    """

    days: dict[int, Counts]
    top: dict[str, tuple[list[tuple[str, int]], int]]
    takings: dict[str, tuple[int, int]]


# What each of a visit's events is: the page's number, and before it, with a dot, the kind's, unless it is a view of it.
_TOKENS = """
(SELECT group_concat(CASE WHEN {view} THEN page_id ELSE event_type_id || '.' || page_id END) FROM events AS e
    WHERE e.site_id = v.site_id AND e.visit_id = v.id AND {counted} AND {condition})
"""
# Of visits that viewed a page or two and did nothing else, that stands in the visit.
_SHORT = """
CASE WHEN entry_page_id IS NULL OR pageviews <> events OR events > 2 THEN {tokens}
    WHEN events = 1 THEN entry_page_id ELSE entry_page_id || ',' || exit_page_id END
"""
_PURSE = """
(SELECT group_concat(event_type_id || ' ' || revenue_minor) FROM events AS e
    WHERE e.site_id = v.site_id AND e.visit_id = v.id AND revenue_minor IS NOT NULL AND {counted} AND {condition})
"""
# The limit keeps SQLite from looking for the events twice.
_SIFTED = """
SELECT day, (
    SELECT json_array(count(*),
        sum(is_only_visit_of_day) + count(DISTINCT CASE WHEN is_only_visit_of_day THEN NULL ELSE visitor_id END),
        sum(pageviews), sum(events), sum(events = 1), sum(early_ms + elapsed_ms),
        json_array({codes_alone}), group_concat(CASE WHEN is_only_visit_of_day THEN tokens END, ';'),
        group_concat(CASE WHEN NOT is_only_visit_of_day THEN day || ' ' || visitor_id END),
        json_array({codes_of_others}),
        group_concat(CASE WHEN NOT is_only_visit_of_day THEN coalesce(tokens, '') END, ';'),
        group_concat(revenue_rows))
    FROM (
        SELECT is_only_visit_of_day, visitor_id, pageviews, events, early_ms, elapsed_ms, {codes}, {tokens} AS tokens,
            {revenue_rows} AS revenue_rows
        FROM visits AS v
        WHERE v.site_id = {site} AND v.id >= low AND v.id < high AND abs(v.visitor_id % parts) = part
            AND {candidates} LIMIT -1
    ) WHERE {matches}
) FROM (
    SELECT value ->> 0 AS day, value ->> 1 AS low, value ->> 2 AS high, value ->> 3 AS parts, value ->> 4 AS part
    FROM json_each({days})
)
"""


def sift(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    filters: Sequence[Filter],
    dimensions: Collection[str] = (),
    most: int = 0,
) -> Sifted | None:
    """Count a period by days, by each of these dimensions, and what it took. Raises `Refused`.

    Of each dimension, `most` values are told. None if that cannot be told by visits alone: of times within days, or if
    events that are in no visit may pass.
    """
    if not period.whole or (not needs_visit(filters) and has_strays(conn, site, period)):
        return None
    by_events = not of_visits(filters)
    matching = Matching(conn, site.number)
    codes = sorted({code_of(word) for word in dimensions if word not in OF_EVENTS}) or ["traffic_source_id"]
    sql = _sql(matching, site, period, filters, codes, by_events, any(word in OF_EVENTS for word in dimensions))
    found, heap, takings = dict[int, Counts](), Heap(codes), Takings(conn)
    together = _EVENTS_OF_PART
    with closing(VisitorTotals(dimensions)) as totals:
        for day, told in conn.execute(sql, matching.values):
            part = DAY.decode(told)
            if part.visits:
                found[day] = found.get(day, Counts()).plus(_counts(part, by_events))
                heap.put(part)
            if heap.size >= together:
                values = totals.add(Ranks(conn, site, heap).of(dimensions))
                takings.add(heap.purses)
                heap, together = Heap(codes), 1 if values > _MANY_VALUES else _EVENTS_TOGETHER
        totals.add(Ranks(conn, site, heap).of(dimensions))
        takings.add(heap.purses)
        return Sifted(found, {word: _top(totals, word, most) for word in dimensions}, takings.ranked())


def _top(totals: VisitorTotals, dimension: str, most: int) -> tuple[list[tuple[str, int]], int]:
    rows = (((value,), Counts(visitors)) for value, visitors in totals.rows(dimension))
    best, total = event_queries.top(
        (row for row in rows if (dimension, *row[0]) != event_queries.VIEWS), "visitors", most
    )
    return [(value, counts.visitors) for (value,), counts in best], total


def _parts(conn: sqlite3.Connection, site: Site, period: Period) -> Iterator[tuple[int, int, int, int, int]]:
    """The days of a period that have events, in parts: day, first and last number, how many parts, which part."""
    known = rollup_queries.days(conn, site, period) if rollup_queries.is_known(conn, site, period) else None
    for day in events_of.days(conn, site, period.since, period.until):
        low, high = ids_of_day(day, site.timezone)
        if known is None:
            query = "SELECT count(*) FROM (SELECT 1 FROM events WHERE site_id = ? AND visit_id >= ? AND visit_id < ?)"
            (size,) = conn.execute(query, (site.number, low, high)).fetchone()
        else:
            size = known[day].events if day in known else 0
        parts = 1 + size // _EVENTS_OF_PART
        yield from ((day, low, high, parts, part) for part in range(parts))


def _counts(day: Day, by_events: bool) -> Counts:
    views, events = day.views or 0, day.events or 0
    if by_events:
        texts = [text for text in (day.tokens, day.tokens_of_others) if text]
        events = sum(text.count(",") + text.count(";") + 1 for text in texts)
        views = events - sum(text.count(".") for text in texts)
    return Counts(day.visitors or 0, day.visits, views, events, day.bounces or 0, day.duration or 0)


def _sql(
    matching: Matching,
    site: Site,
    period: Period,
    filters: Sequence[Filter],
    codes: Sequence[str],
    by_events: bool,
    with_events: bool,
) -> str:
    condition = matching.all(filters)
    inner = {"view": VIEW, "counted": COUNTED, "condition": condition if by_events else "1"}
    tokens = _TOKENS.format(**inner) if by_events or with_events else "NULL"
    takes = matching.conn.execute("SELECT 1 FROM daily_revenue WHERE site_id = ? LIMIT 1", (site.number,)).fetchone()
    sells = matching.seen((), "currency <> ''")
    return _SIFTED.format(
        codes_alone=", ".join(f"group_concat(CASE WHEN is_only_visit_of_day THEN {code} END)" for code in codes),
        codes_of_others=", ".join(
            f"group_concat(CASE WHEN NOT is_only_visit_of_day THEN coalesce({code}, '') END)" for code in codes
        ),
        codes=", ".join(codes),
        tokens=tokens if by_events or not with_events else _SHORT.format(tokens=tokens),
        revenue_rows=f"CASE WHEN {sells} THEN {_PURSE.format(**inner)} END" if takes else "NULL",
        site=matching.bind(site.number),
        candidates=matching.seen(filters) if by_events else condition,
        matches="tokens IS NOT NULL" if by_events else "1",
        days=matching.bind(msgspec.json.encode(list(_parts(matching.conn, site, period))).decode()),
    )
