"""The whole dashboard of what passes filters, in one look at the visits.

SQLite sorts in order to group, which takes longer than to find the rows. So it writes what a day's visits have one
after the other, and Python counts it, which is quick with dicts: a day is a row, whatever the number of its visits.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ovx_lite.filters import Filter
from ovx_lite.model import Site
from ovx_lite.periods import Period
from ovx_lite.results import Counts
from ovx_lite.store.heap import DAY, OF_EVENTS, Day, Heap, Ranks, code_of
from ovx_lite.store.matching import COLUMNS, Matching, needs_visit, of_visits
from ovx_lite.store.selection import COUNTED, VIEW, days, has_strays

DIMENSIONS = (*(word for word in COLUMNS if word.startswith("visit:")), *OF_EVENTS)
"""What can be counted by here."""


class Sifted(NamedTuple):
    """What passes filters: the counts of each day, visitors by what stands in each dimension, revenue by currency.

    Revenue is how often, and how much in minor units.
    """

    days: dict[int, Counts]
    visitors: dict[str, Counter[str]]
    takings: dict[str, tuple[int, int]]


# What each of a visit's events is: the page's number, and before it, with a dot, the kind's, unless it is a view of it.
_TOKENS = """
(SELECT group_concat(CASE WHEN {view} THEN page ELSE kind || '.' || page END) FROM events AS e
    WHERE e.site = v.site AND e.visit = v.id AND {counted} AND {condition})
"""
# Of visits that viewed a page or two and did nothing else, that stands in the visit.
_SHORT = """
CASE WHEN entry IS NULL OR pageviews <> events OR events > 2 THEN {tokens}
    WHEN events = 1 THEN entry ELSE entry || ',' || exit END
"""
_PURSE = """
(SELECT group_concat(kind || ' ' || revenue) FROM events AS e
    WHERE e.site = v.site AND e.visit = v.id AND revenue IS NOT NULL AND {counted} AND {condition})
"""
# The limit keeps SQLite from looking for the events twice.
_SIFTED = """
SELECT day, (
    SELECT json_array(count(*),
        sum(alone) + count(DISTINCT CASE WHEN alone THEN NULL ELSE visitor END),
        sum(pageviews), sum(events), sum(events = 1), sum(before + after),
        json_array({codes_alone}), group_concat(CASE WHEN alone THEN tokens END, ';'),
        group_concat(CASE WHEN NOT alone THEN day || ' ' || visitor END),
        json_array({codes_of_others}), group_concat(CASE WHEN NOT alone THEN coalesce(tokens, '') END, ';'),
        group_concat(purse))
    FROM (
        SELECT alone, visitor, pageviews, events, before, after, {codes}, {tokens} AS tokens, {purse} AS purse
        FROM visits AS v
        WHERE v.site = {site} AND v.id >= low AND v.id < high AND {found} LIMIT -1
    ) WHERE {passed}
) FROM {days}
"""


def sift(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter], dimensions: Collection[str] = ()
) -> Sifted | None:
    """Count a period by days, by each of these dimensions, and what it took. Raises `Refused`.

    None if that cannot be told by visits alone: of times within days, or if events that are in no visit may pass.
    """
    if not period.whole or (not needs_visit(filters) and has_strays(conn, site, period)):
        return None
    by_events = not of_visits(filters)
    matching = Matching(conn, site.number)
    codes = sorted({code_of(word) for word in dimensions if word not in OF_EVENTS}) or ["origin"]
    sql = _sql(matching, site, period, filters, codes, by_events, any(word in OF_EVENTS for word in dimensions))
    found, heap = dict[int, Counts](), Heap(codes)
    for day, told in conn.execute(sql, matching.values):
        found_there = DAY.decode(told)
        if found_there.visits:
            found[day] = _counts(found_there, by_events)
            heap.put(found_there)
    return Sifted(found, Ranks(conn, site, heap).of(dimensions), heap.takings(conn))


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
    takes = matching.conn.execute("SELECT 1 FROM takings WHERE site = ? LIMIT 1", (site.number,)).fetchone()
    sells = matching.seen((), "currency <> ''")
    return _SIFTED.format(
        codes_alone=", ".join(f"group_concat(CASE WHEN alone THEN {code} END)" for code in codes),
        codes_of_others=", ".join(f"group_concat(CASE WHEN NOT alone THEN coalesce({code}, '') END)" for code in codes),
        codes=", ".join(codes),
        tokens=tokens if by_events or not with_events else _SHORT.format(tokens=tokens),
        purse=f"CASE WHEN {sells} THEN {_PURSE.format(**inner)} END" if takes else "NULL",
        site=matching.bind(site.number),
        found=matching.seen(filters) if by_events else condition,
        passed="tokens IS NOT NULL" if by_events else "1",
        days=days(matching, site, period),
    )
